# Bash completion for conch.

_conch() {
    local line word="${COMP_WORDS[COMP_CWORD]}"
    [[ $word == [=:] ]] && word=""
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
        else
            COMPREPLY+=("${line%%$'\t'*}")
        fi
    done < <("$1" completion candidates bash -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null </dev/null)
}
complete -F _conch conch

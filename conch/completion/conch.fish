# Fish completion for conch.

function __conch_candidates
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    for line in ($words[1] completion candidates fish -- $words[2..-1] "$word" 2>/dev/null </dev/null)
        if test "$line" = :files
            __fish_complete_path "$word"
        else
            printf '%s\n' $line
        end
    end
end

complete --command conch --no-files --arguments '(__conch_candidates)'

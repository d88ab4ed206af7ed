"""Check a model repository before it is served: offline, without a server.

`findings` has what a rule is, the modules named `..._rules` have the rules, grouped by what they read; `check` runs
them, `fixing` applies the safe changes; `serving/commands/lint.py` is `conch lint`.
"""

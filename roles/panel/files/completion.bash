# Managed by Streamfleet, role panel. Words of the command streamfleet.
_streamfleet() {
    local word=${COMP_WORDS[COMP_CWORD]} words="status start stop restart logs user version --help"
    case ${COMP_WORDS[1]} in
        status) words=--json ;;
        start | stop | restart) words="panel worker web all --engines --yes" ;;
        logs) words="panel worker web --follow --lines $(ls /etc/streamfleet/routes 2>/dev/null | sed -n 's/\.json$//p')" ;;
        user) words="reset --password-stdin --output --revoke-tokens --administrator --dry-run --json" ;;
        version) words= ;;
    esac
    [ "$COMP_CWORD" -gt 1 ] || words="status start stop restart logs user version --help"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _streamfleet streamfleet

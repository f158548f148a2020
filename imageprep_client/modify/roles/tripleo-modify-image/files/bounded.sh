# Run a command whose output is bounded: it is ended by SIGPIPE, or an error of
# its writes, when it prints too much.
most=4194304
bounded() {
    # The exit status of the command goes through descriptor 3, and its output
    # through a pipe each for standard output and standard error.
    exec 4>&1 5>&2
    ended=$(
        {
            {
                {
                    code=0
                    "$@" 3>&- 4>&- 5>&- 6>&- || code=$?
                    echo "$code" >&3
                } 2>&6 | bound >&4
            } 6>&1 | bound >&5
        } 3>&1
    )
    exec 4>&- 5>&-
    case $ended in
    *more*)
        echo "prints more than $most bytes" >&2
        return 1
        ;;
    esac
    return "$ended"
}
bound() {
    head -c "$most"
    test "$(head -c 1 | wc -c)" -eq 0 || echo more >&3
}

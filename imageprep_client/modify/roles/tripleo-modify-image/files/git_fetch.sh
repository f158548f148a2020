# Fetch a change into a repository:
#
#   DIRECTORY URL REFSPEC
#
# Standard input has two lines, a user and a password, for the server of the
# URL only. git gets them by its environment, which other users cannot read.
# Without them git uses its own configuration of credentials.
set -eu

directory=$1 url=$2 refspec=$3
IFS= read -r IMAGEPREP_GIT_USER
IFS= read -r IMAGEPREP_GIT_PASSWORD
set --
if [ -n "$IMAGEPREP_GIT_USER$IMAGEPREP_GIT_PASSWORD" ]; then
    export IMAGEPREP_GIT_USER IMAGEPREP_GIT_PASSWORD
    server=${url#*://}
    helper=credential.${url%%://*}://${server%%/*}.helper
    # The empty helper disables those of the user, which would store the
    # password.
    set -- -c "$helper=" -c "$helper="'!helper() {
        test "$1" != get || printf "username=%s\npassword=%s\n" \
            "$IMAGEPREP_GIT_USER" "$IMAGEPREP_GIT_PASSWORD"
    }; helper'
fi
export GIT_TERMINAL_PROMPT=0
exec git "$@" -C "$directory" fetch --quiet --depth=1 -- "$url" "$refspec" \
    </dev/null

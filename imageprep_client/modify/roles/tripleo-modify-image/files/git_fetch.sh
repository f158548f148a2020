# Fetch a change into a repository:
#
#   DIRECTORY URL REFSPEC
#
# Standard input has two lines, a user and a password. They are for the server
# of the URL only, and go to git by its environment, which nobody else can
# read. Without them git looks for credentials as it is configured.
set -eu

directory=$1 url=$2 refspec=$3
IFS= read -r IMAGEPREP_GIT_USER
IFS= read -r IMAGEPREP_GIT_PASSWORD
set --
if [ -n "$IMAGEPREP_GIT_USER$IMAGEPREP_GIT_PASSWORD" ]; then
    export IMAGEPREP_GIT_USER IMAGEPREP_GIT_PASSWORD
    server=${url#*://}
    helper=credential.${url%%://*}://${server%%/*}.helper
    # The empty one takes away those of the user, which would keep what is
    # given here.
    set -- -c "$helper=" -c "$helper="'!helper() {
        test "$1" != get || printf "username=%s\npassword=%s\n" \
            "$IMAGEPREP_GIT_USER" "$IMAGEPREP_GIT_PASSWORD"
    }; helper'
fi
export GIT_TERMINAL_PROMPT=0
exec git "$@" -C "$directory" fetch --quiet --depth=1 -- "$url" "$refspec" \
    </dev/null

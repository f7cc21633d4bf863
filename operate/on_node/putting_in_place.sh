# Put a database that lies here in the place of the control plane's, by portside-control-backup.
# Sent by operate/backup/restoring.py. Run by systemd, it goes on when the connection is cut; as a unit of
# one name there is never a second one beside it.
#
#   $1 portside-control-backup   $2 file, or `empty`   $3 what is restored, in one word   $4 folder
set -eu
unit=portside-control-restore.service
cd "$4"
# Whose log and outcome there are is known by the folder of what is restored.
mkdir -p "outcomes/$3"
if [ "$(systemctl show --property ActiveState --value "$unit")" != inactive ]; then
    [ -e "outcomes/$3/begun" ] || { echo "something else is just being restored: wait for that" >&2; exit 3; }
    while [ "$(systemctl show --property ActiveState --value "$unit")" != inactive ]; do sleep 1; done
else
    rm -rf outcomes
    mkdir -p "outcomes/$3"
    touch "outcomes/$3/begun"
    # What it says is read from the file: whoever reads standard output may be gone by then.
    systemd-run --quiet --wait --collect --unit="$unit" --description="Portside: restore $3" \
        sh -c '"$1" restore "$2" >"$3/log" 2>&1 && touch "$3/done" && { [ "$2" = empty ] || rm -f "$2"; }
            touch "$3/ended"' \
        sh "$1" "$2" "$4/outcomes/$3" || true
fi
cat "outcomes/$3/log"
[ -e "outcomes/$3/ended" ] || { echo "it was cut off in the middle" >&2; exit 4; }
[ -e "outcomes/$3/done" ] || { tail -n 1 "outcomes/$3/log" >&2; exit 1; }

#!/bin/bash
# Name the user, put CANN's environment in effect, and become the command that is given.

# A uid that the image does not know gets an entry: HCCL asks for the user's name and fails without one. The C library
# looks for it behind /etc/passwd, in /var/lib/extrausers/passwd, which is a link to here: the root is read-only.
# The group in it is the image's own, whatever the process has: entries with a system group are passed over.
if ! getent passwd "$UID" >/dev/null; then
  echo "npu-distill-$UID:x:$UID:10001::/tmp:/usr/sbin/nologin" >/tmp/passwd
fi

# Most of it is in the ENV of CANN's image; a base of your own may have it here alone.
cann=/usr/local/Ascend/ascend-toolkit/set_env.sh
if [ -f "$cann" ]; then
  # shellcheck source=/dev/null
  source "$cann"
fi

exec "$@"

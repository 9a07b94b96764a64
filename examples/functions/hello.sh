#!/bin/sh
# Kind native:default. A script needs its interpreter in the image: /bin/sh is there.
while read -r call; do
  name=$(printf '%s' "${call#*\"name\":\"}")
  printf '{"hello":"%s","from":"a shell"}\n' "${name%%\"*}" >&3
done

#!/bin/sh
# QEMU, machine microvm: `-nic user,model=virtio-net-device` makes no network card, though `-device virtio-net-device` does.
#
# Guess: `-nic` is the short way to say `-netdev` and `-device`, on every machine that has the device (`-M microvm -device help` lists it); what
#   cannot be made is an error, as with `-device`.
# Seen:  microvm has no table of cards that `-nic` could make, so the model is not looked at: two warnings, status 0, and a guest without a card. With
#   `-netdev` and `-device` the same machine has one.
#
# Debian 12, QEMU 7.2. Printed:
#   -nic: 0 cards, warned: requested NIC (anonymous, model virtio-net-device) was not created
#   -netdev and -device: 1 card
#   as found: -nic makes none on a microvm
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# QEMU and all libraries that it needs, as if nothing were installed.
mkdir -p "$folder/a/partial" "$folder/x"
: >"$folder/status"
apt-get -qq -y -o Dir::Cache::Archives="$folder/a" -o Dir::State::status="$folder/status" -o APT::Sandbox::User=root \
    install --download-only --no-install-recommends qemu-system-x86=1:7.2+dfsg-7+deb12u18+b2 >/dev/null
for package in "$folder"/a/*.deb; do dpkg -x "$package" "$folder/x"; done
lib=$folder/x/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR="$folder/x/usr/lib/x86_64-linux-gnu/qemu"
qemu() {
    "$lib/ld-linux-x86-64.so.2" --library-path "$lib:$folder/x/usr/lib/x86_64-linux-gnu" "$folder/x/usr/bin/qemu-system-x86_64" \
        -L "$folder/x/usr/share/qemu" "$@"
}
qemu --version | head -n 1

# The cards of a machine that does not run, as its monitor lists its devices.
cards() {
    printf 'info qtree\nquit\n' |
        qemu -M microvm -S -display none -nodefaults -serial none -monitor stdio "$@" 2>"$folder/warned" |
        grep -c 'dev: virtio-net-device' || true
}

nic=$(cards -nic user,model=virtio-net-device)
warned=$(grep -o 'requested NIC .* was not created' "$folder/warned" || true)
echo "-nic: $nic cards, warned: $warned"
device=$(cards -netdev user,id=n -device virtio-net-device,netdev=n)
echo "-netdev and -device: $device card"
if [ "$nic" != 0 ] || [ "$device" != 1 ] || [ -z "$warned" ]; then
    echo "this has changed"
    exit 1
fi
echo "as found: -nic makes none on a microvm"

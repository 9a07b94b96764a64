#!/bin/sh
# Debian's Node: five scripts of its own library are files of other packages, which nothing that follows shared libraries finds.
#
# Guess: what Node has in JavaScript is compiled into its program, so the program and the libraries that ldd names are all of it: that is
#   what a container or an image of one program needs.
# Seen:  Debian builds Node with --shared-builtin-...-path for what it packages by itself (acorn, acorn-walk, cjs-module-lexer, undici).
#   libnode.so.108 then holds only their paths, and Node reads the files whenever it starts, whatever it is to run. They are in
#   node-acorn, node-cjs-module-lexer and node-undici, on which the package libnode108 depends and of which the ELF file says nothing.
#   The same version from the npm package `node` names no such file.
#
# libnode108 18.20.4+dfsg-1~deb12u1 of Debian 12, `node` 18.20.4 of npm. Printed:
#   Debian: /usr/share/nodejs/acorn-walk/dist/walk.js
#   Debian: /usr/share/nodejs/acorn/dist/acorn.js
#   Debian: /usr/share/nodejs/cjs-module-lexer/dist/lexer.js
#   Debian: /usr/share/nodejs/cjs-module-lexer/lexer.js
#   Debian: /usr/share/nodejs/undici/undici-fetch.js
#   in files of its package: 0
#   npm: 0
#   as found: five scripts are files of other packages
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -q 'libnode108=18.20.4+dfsg-1~deb12u1' >&2
dpkg-deb -x libnode108_*.deb debian
npm install --silent --no-audit --no-fund --prefix npm node@18.20.4
scripts() { grep -a -o '/usr/share/nodejs/[a-zA-Z0-9_./-]*\.js' "$1" | sort -u || true; }
scripts debian/usr/lib/*/libnode.so.108 >named
sed 's/^/Debian: /' named
packaged=$(dpkg-deb -c libnode108_*.deb | grep -c '\.js$' || true)
echo "in files of its package: $packaged"
npm=$(scripts npm/node_modules/node/bin/node | wc -l)
echo "npm: $npm"
if [ "$(wc -l <named)" != 5 ] || [ "$packaged" != 0 ] || [ "$npm" != 0 ]; then
    echo "this has changed" >&2
    exit 1
fi
echo "as found: five scripts are files of other packages"

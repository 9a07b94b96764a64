#!/bin/sh
# OpenWhisk's image for Python 3.11: its pinned requirements, installed anew, give a scrapy that does not import.
#
# Guess: core/python311Action/requirements.txt of apache/openwhisk-runtime-python pins every package that functions are promised by `==`, so what pip
#   makes of it today is what its authors had.
# Seen:  what those packages depend on is not pinned. scrapy 2.11.2 takes any w3lib from 1.17 on, and imports a private name that w3lib 2.2 has no
#   more. Who packs these packages anew has to pin below them, too; an image made earlier goes on working.
#
# Python 3.11, scrapy 2.11.2 and twisted 24.7.0 as that file has them. Printed:
#   with w3lib 2.5.0, which pip chooses: cannot import name '_safe_chars' from 'w3lib.url'
#   with w3lib 2.1.2: scrapy 2.11.2
#   as found: the pins do not import
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

with_w3lib() {
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --only-binary :all: --target "$folder/$1" \
        scrapy==2.11.2 twisted==24.7.0 lxml==4.9.2 parsel==1.9.1 pyopenssl==24.1.0 cryptography==42.0.8 service-identity==24.1.0 "w3lib==$1"
    PYTHONPATH="$folder/$1" python3 -c 'import scrapy; print("scrapy", scrapy.__version__)' 2>&1 | tail -n 1 | sed 's/^ImportError: //; s/ (.*//'
}

new=$(with_w3lib 2.5.0)
echo "with w3lib 2.5.0, which pip chooses: $new"
old=$(with_w3lib 2.1.2)
echo "with w3lib 2.1.2: $old"
case "$new" in *_safe_chars*) ;; *) echo "this has changed"; exit 1 ;; esac
[ "$old" = "scrapy 2.11.2" ] || { echo "this has changed"; exit 1; }
echo "as found: the pins do not import"

#!/bin/sh
# Makes ./configure. Needs the Debian packages autoconf, automake and pkg-config.
set -e
cd "$(dirname "$0")"
exec autoreconf --force --install

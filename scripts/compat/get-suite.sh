#!/bin/sh
# get-suite.sh DEST: unpack Redis's own test suite (Debian's source package of redis 7.0.15) as DEST/redis-7.0.15.
#
# Uses apt's ordinary client, with sources, lists and cache of its own below DEST: the system's apt configuration is
# neither read for deb-src (it usually has none) nor changed, and no root is needed. The tarball is pinned by checksum;
# Debian's revision is not, because it leaves the index with every security update.
set -eu
tarball=redis_7.0.15.orig.tar.gz
sha256=4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982
dest=$(mkdir -p "$1" && cd "$1" && pwd)
[ -f "$dest/redis-7.0.15/tests/test_helper.tcl" ] && exit 0

cd "$dest"
if ! echo "$sha256  $tarball" | sha256sum --status -c - 2>/dev/null; then
    private=$dest/apt
    mkdir -p "$private/parts" "$private/lists/partial" "$private/cache/archives/partial"
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -e "$f" ] && sed 's/^Types:.*/Types: deb-src/' "$f" > "$private/parts/$(basename "$f")"
    done
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$f" ] && sed -n 's/^deb /deb-src /p' "$f" > "$private/parts/$(basename "$f" .list).list"
    done
    with_private() {
        command=$1
        shift
        "apt-$command" -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$private/parts" \
            -o Dir::State::Lists="$private/lists" -o Dir::Cache="$private/cache" -o APT::Sandbox::User="" "$@"
    }
    with_private get -qq update
    with_private get -qq source --download-only redis
    rm -rf "$private"
    echo "$sha256  $tarball" | sha256sum --quiet -c -
fi
rm -rf unpacking
mkdir unpacking
tar xzf "$tarball" -C unpacking
mv unpacking/redis-7.0.15 redis-7.0.15
rmdir unpacking

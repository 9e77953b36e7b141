#!/bin/sh
# Builds iPXE for the machines that the head boots. Its interface is that of Warewulf's script, with more to choose from.
set -eu

# What is built where nobody says: iPXE's commit of 31 May 2024, which others have run on thousands of machines. A commit's name
# is the checksum of everything in it.
pinned=e965f179e1654103eca33feed7a9cc4c51d91be6
repository=${IPXE_REPOSITORY:-https://github.com/ipxe/ipxe.git}

usage() {
    cat <<END
Usage: [VARIABLE=VALUE...] $0 [OPTIONS] [ARGUMENTS OF make...]

Builds network boot programs and puts them into DESTDIR, with a manifest of what was built from what.

Variables:
  TARGETS        what to build; default: $default_targets
  DESTDIR        an existing directory; default: /usr/local/share/ipxe, where the head finds them
  IPXE_BRANCH    branch or tag to clone; default: the pinned commit $pinned
  IPXE_SOURCE    a source directory or tarball instead of a clone; nothing is downloaded, the directory is not changed
  IPXE_SHA256    what sha256sum has to say of that tarball
  IPXE_REPOSITORY  where to clone from; default: $repository

Options:
  --console LIST   consoles beside the screen: any of serial, framebuffer, syslog; or none; default: serial,framebuffer.
                   ARM64 has no serial console
  --gzip yes|no    gzip images; default: yes
  --zlib yes|no    zlib images; default: yes
  --vlan yes|no    the command vcreate; default: yes
  --ipv6 yes|no    IPv6; default: yes
  --trust FILE     a root certificate (PEM): imgverify believes what it signed, and nothing else
  --embed FILE     the script that runs first; default: one that asks for a boot script until it gets one.
                   EMBED=FILE as an argument of make does the same
  --no-embed       none
  -h, --help       this

Further arguments go to make as they are, such as DEBUG=dhcp or EMBED=/root/vlan.ipxe.
END
}

default_targets='bin-x86_64-pcbios/undionly.kpxe bin-x86_64-efi/snponly.efi bin-arm64-efi/snponly.efi'
die() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }
say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s/%s\n' "$PWD" "$1" ;; esac; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
TARGETS=${TARGETS:-$default_targets}
DESTDIR=${DESTDIR:-/usr/local/share/ipxe}
console=serial,framebuffer gzip=yes zlib=yes vlan=yes ipv6=yes trust='' embed=default

value() { if [ $# -lt 2 ] || [ -z "$2" ]; then die "$1 needs a value"; fi; }
yesno() { value "$@"; case $2 in yes | no) ;; *) die "$1 is yes or no" ;; esac; }
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --console) value "$@"; console=$2; shift 2 ;;
        --gzip) yesno "$@"; gzip=$2; shift 2 ;;
        --zlib) yesno "$@"; zlib=$2; shift 2 ;;
        --vlan) yesno "$@"; vlan=$2; shift 2 ;;
        --ipv6) yesno "$@"; ipv6=$2; shift 2 ;;
        --trust) value "$@"; trust=$(absolute "$2"); shift 2 ;;
        --embed) value "$@"; embed=$(absolute "$2"); shift 2 ;;
        --no-embed) embed=none; shift ;;
        --) shift; break ;;
        -*) die "there is no option $1; --help lists them" ;;
        *) break ;;
    esac
done
for argument in "$@"; do
    case $argument in EMBED=*) embed=by-make ;; esac
done
if [ "$embed" = default ]; then
    for embed in "$here/../head/assets/ipxe/embed.ipxe" /usr/share/wulfpack/ipxe/embed.ipxe ''; do
        [ -z "$embed" ] || [ ! -r "$embed" ] || break
    done
    [ -n "$embed" ] || die 'the embedded script embed.ipxe is not where it should be; name one with --embed, or --no-embed'
fi
case $embed in none | by-make) ;; *) [ -r "$embed" ] || die "cannot read the embedded script $embed" ;; esac
[ -z "$trust" ] || [ -r "$trust" ] || die "cannot read the certificate $trust"
[ -d "$DESTDIR" ] || die "DESTDIR=$DESTDIR is no directory: create it first"
[ -w "$DESTDIR" ] || die "DESTDIR=$DESTDIR cannot be written"
have make || die 'make is missing (on Debian: apt-get install build-essential liblzma-dev)'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# The source, in a copy of our own.
tree=$work/ipxe
mkdir "$tree"
if [ -n "${IPXE_SOURCE:-}" ]; then
    if [ -d "$IPXE_SOURCE" ]; then
        [ -z "${IPXE_SHA256:-}" ] || die 'IPXE_SHA256 is for a tarball, and IPXE_SOURCE is a directory'
        cp -R "$IPXE_SOURCE/." "$tree"
        revision=$(git -C "$IPXE_SOURCE" rev-parse HEAD 2>/dev/null) || revision="directory $(absolute "$IPXE_SOURCE")"
    else
        [ -r "$IPXE_SOURCE" ] || die "IPXE_SOURCE=$IPXE_SOURCE is neither a directory nor a file that can be read"
        sum=$(sha256sum <"$IPXE_SOURCE" | cut -d' ' -f1)
        [ "${IPXE_SHA256:-$sum}" = "$sum" ] || die "$IPXE_SOURCE has the checksum $sum and not $IPXE_SHA256"
        tar -xf "$IPXE_SOURCE" -C "$tree"
        revision="tarball sha256:$sum"
    fi
elif have git; then
    if [ -n "${IPXE_BRANCH:-}" ]; then
        say "cloning $IPXE_BRANCH of $repository"
        git clone -q --depth 1 --branch "$IPXE_BRANCH" "$repository" "$tree"
    else
        say "fetching $pinned of $repository"
        git -C "$tree" init -q
        git -C "$tree" fetch -q --depth 1 "$repository" "$pinned"
        git -C "$tree" checkout -q FETCH_HEAD
    fi
    revision=$(git -C "$tree" rev-parse HEAD)
    [ -n "${IPXE_BRANCH:-}" ] || [ "$revision" = "$pinned" ] || die "got commit $revision and not $pinned"
else
    die 'git is missing; IPXE_SOURCE=DIRECTORY|TARBALL builds without a clone'
fi
# A tarball, or a distribution's source, may have its tree one directory further down.
src=''
for src in "$tree/src" "$tree"/*/src "$tree"; do
    [ -f "$src/Makefile" ] && [ -d "$src/config" ] && break
    src=''
done
[ -n "$src" ] || die 'this is no source of iPXE: it has no src/Makefile and src/config'

# What iPXE reads after its own configuration, and never overwrites.
configure() {
    mkdir -p "$src/config/local"
    {
        on() { [ "$2" = yes ] && printf '#define %s\n' "$1" || printf '#undef %s\n' "$1"; }
        on IMAGE_GZIP "$gzip"
        on IMAGE_ZLIB "$zlib"
        on VLAN_CMD "$vlan"
        on NET_PROTO_IPV6 "$ipv6"
        on IMAGE_TRUST_CMD yes
        on NEIGHBOUR_CMD yes
        on PING_CMD yes
        on NTP_CMD yes
        on REBOOT_CMD yes
        on POWEROFF_CMD yes
        on PCI_CMD yes
    } >"$src/config/local/general.h"
    {
        for name in $(printf '%s' "$console" | tr , ' '); do
            case $name in
                # https://github.com/ipxe/ipxe/issues/658
                serial) [ "$1" = arm64 ] || echo '#define CONSOLE_SERIAL' ;;
                framebuffer) printf '#define CONSOLE_FRAMEBUFFER\n#define CONSOLE_CMD\n' ;;
                syslog) echo '#define CONSOLE_SYSLOG' ;;
                none) ;;
                *) die "there is no console $name; --console takes serial, framebuffer, syslog and none" ;;
            esac
        done
    } >"$src/config/local/console.h"
}

# The compiler's prefix for a target's architecture; fails where there is none.
cross() {
    native=$(uname -m)
    case $1 in
        x86_64) machine=x86_64 ;;
        i386) machine=i686; [ "$native" != x86_64 ] || return 0 ;;
        arm64) machine=aarch64 ;;
        arm32) machine=arm ;;
        *) machine=$1 ;;
    esac
    [ "$machine" != "$native" ] || return 0
    for prefix in "$machine-linux-gnu-" "$machine-linux-gnueabihf-" "$machine-linux-gnueabi-" "$machine-unknown-linux-gnu-"; do
        if have "${prefix}gcc"; then printf '%s' "$prefix"; return 0; fi
    done
    return 1
}

# build TARGET PREFIX ARGUMENTS...
build() {
    target=$1 prefix=$2
    shift 2
    [ -z "$prefix" ] || set -- "CROSS=$prefix" "$@"
    [ -z "$trust" ] || set -- "CERT=$trust" "TRUST=$trust" "$@"
    case $embed in none | by-make) ;; *) set -- "EMBED=$embed" "$@" ;; esac
    make -C "$src" -j"$jobs" "$target" "$@"
}

architecture() {
    case $1 in
        bin-*) a=${1#bin-}; printf '%s' "${a%%-*}" ;;
        *) printf 'i386' ;;
    esac
}

jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || jobs=1
manifest=$work/manifest
{
    printf '# What scripts/build-ipxe.sh built; sha256sum -c checks it.\n'
    printf '# revision: %s\n# console: %s\n# gzip: %s\n# zlib: %s\n# vlan: %s\n# ipv6: %s\n' \
        "$revision" "$console" "$gzip" "$zlib" "$vlan" "$ipv6"
    case $embed in
        none) printf '# embedded script: none\n' ;;
        by-make) printf '# embedded script: by the arguments of make\n' ;;
        *) printf '# embedded script: sha256:%s\n' "$(sha256sum <"$embed" | cut -d' ' -f1)" ;;
    esac
    [ -z "$trust" ] || printf '# trusted certificate: sha256:%s\n' "$(sha256sum <"$trust" | cut -d' ' -f1)"
    printf '# arguments of make: %s\n' "$*"
} >"$manifest"

built=0
for target in $TARGETS; do
    arch=$(architecture "$target")
    if ! prefix=$(cross "$arch"); then
        say "skipped: $target: no compiler for $arch (on Debian: apt-get install gcc-$(echo "$arch" | sed 's/arm64/aarch64/')-linux-gnu)"
        printf '# skipped, no compiler: %s\n' "$target" >>"$manifest"
        continue
    fi
    say "building $target"
    configure "$arch"
    if ! build "$target" "$prefix" "$@" >"$work/log" 2>&1; then
        tail -n 30 "$work/log" >&2
        die "$target could not be built; the lines above say why"
    fi
    name=$(printf '%s' "$target" | tr / -)
    install -m 0644 "$src/$target" "$DESTDIR/.$name.new"
    mv "$DESTDIR/.$name.new" "$DESTDIR/$name"
    printf '%s  %s\n' "$(sha256sum <"$DESTDIR/$name" | cut -d' ' -f1)" "$name" >>"$manifest"
    say "built: $DESTDIR/$name"
    built=$((built + 1))
done
[ "$built" -gt 0 ] || die 'nothing was built: there is no compiler for any of the targets'
install -m 0644 "$manifest" "$DESTDIR/.ipxe-manifest.new"
mv "$DESTDIR/.ipxe-manifest.new" "$DESTDIR/ipxe-manifest.txt"
say "manifest: $DESTDIR/ipxe-manifest.txt"

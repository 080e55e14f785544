#!/usr/bin/env bash
# Certificates for tests and for trying TLS out: an authority of one's own, and what it signs.
#
#   certificates.sh DIR              ca, server (for localhost, 127.0.0.1, ::1) and client
#   certificates.sh DIR NAME...      certificates for these users besides: common name NAME, URI urn:redvault:user:NAME
#
# Each is DIR/NAME.crt with its key DIR/NAME.key. What is there already stays. DAYS (default 3650; below zero:
# expired) says how long what is made now holds, CURVE (default P-256; "rsa": 2048 bits) what the keys are.
# Not for production: the authority's key lies beside the rest.
set -euo pipefail
umask 077
[[ $# -ge 1 ]] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
dir=$1
shift
days=${DAYS:-3650} curve=${CURVE:-P-256}
mkdir -p "$dir"
quiet() { "$@" 2>"$dir/.log" || { cat "$dir/.log" >&2; exit 1; }; }

new_key() {
    if [[ $curve == rsa ]]; then
        quiet openssl genrsa -out "$dir/$1.key" 2048
    else
        quiet openssl ecparam -genkey -noout -name "$curve" -out "$dir/$1.key"
    fi
}

# new NAME COMMON-NAME EXTENSIONS
new() {
    [[ -e $dir/$1.crt ]] && return
    new_key "$1"
    printf '%s\n' "basicConstraints = CA:FALSE" "subjectKeyIdentifier = hash" "$3" >"$dir/.ext"
    quiet openssl req -new -sha256 -key "$dir/$1.key" -subj "/O=RedVault test/CN=$2" -out "$dir/.csr"
    quiet openssl x509 -req -sha256 -in "$dir/.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" \
        -set_serial "0x$(openssl rand -hex 12)" -days "$days" -extfile "$dir/.ext" -out "$dir/$1.crt"
    rm -f "$dir/.ext" "$dir/.csr" "$dir/.log"
}

if [[ ! -e $dir/ca.crt ]]; then
    new_key ca
    quiet openssl req -x509 -new -sha256 -key "$dir/ca.key" -days "$((days < 3650 ? 3650 : days))" -subj "/O=RedVault test/CN=Certificate Authority" \
        -addext "basicConstraints = critical,CA:TRUE" -addext "keyUsage = critical,keyCertSign,cRLSign" -out "$dir/ca.crt"
fi
new server Server-only "extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1,IP:::1"
new client Client-only "extendedKeyUsage = clientAuth"
for name in "$@"; do
    new "$name" "$name" "subjectAltName = URI:urn:redvault:user:$name"
done

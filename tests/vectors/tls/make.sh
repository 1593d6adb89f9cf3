#!/bin/sh
# make.sh - the test PKI of the tls room: throw-away keys, certificates that end in 2124
set -eu
cd "$(dirname -- "$0")"

ca() # NAME CN KEYARGS... : self-signed
{
	name=$1 cn=$2
	shift 2
	openssl genpkey "$@" -out "$name.key" 2>/dev/null
	openssl req -x509 -new -key "$name.key" -sha256 -days 36500 -subj "/CN=$cn" -out "$name.crt" \
		-addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign'
}

p256='-algorithm EC -pkeyopt ec_paramgen_curve:P-256'
# shellcheck disable=SC2086
{
	ca root 'Test Root' $p256
	ca other 'Other Root' $p256
	ca p384 'Test P-384 CA' -algorithm EC -pkeyopt ec_paramgen_curve:P-384
	ca rsa 'Test RSA CA' -algorithm RSA -pkeyopt rsa_keygen_bits:2048
	openssl genpkey $p256 -out inter.key
}
openssl req -new -key inter.key -subj '/O=Test/CN=Test Interception CA' |
	openssl x509 -req -CA root.crt -CAkey root.key -sha256 -days 36500 -CAcreateserial \
		-extfile /dev/fd/3 3<<'EXT' > inter.crt
basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
EXT
openssl ec -in inter.key -out inter.sec1.key 2>/dev/null
openssl rsa -in rsa.key -traditional -out rsa.pkcs1.key 2>/dev/null
# no CA
openssl req -new -key other.key -subj '/CN=leaf' |
	openssl x509 -req -CA root.crt -CAkey root.key -sha256 -days 36500 -CAcreateserial \
		-extfile /dev/fd/3 3<<'EXT' > notca.crt
basicConstraints=CA:FALSE
subjectAltName=DNS:leaf.test
EXT
# a CA that is over
openssl req -new -key root.key -subj '/CN=Old CA' |
	openssl x509 -req -key root.key -sha256 -days -1 \
		-extfile /dev/fd/3 3<<'EXT' > expired.crt
basicConstraints=critical,CA:TRUE
EXT
rm -f ./*.srl

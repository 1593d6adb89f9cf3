#!/bin/sh
# make.sh - the test PKI of the tls room: throw-away keys, certificates from 2020 to 2120
set -eu
cd "$(dirname -- "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/ca.cnf" <<EOF_CNF
[ca]
default_ca = d
[d]
database = $work/index
new_certs_dir = $work
serial = $work/serial
policy = p
default_md = sha256
unique_subject = no
email_in_dn = no
[p]
commonName = supplied
organizationName = optional
EOF_CNF
: > "$work/index"
echo 1000 > "$work/serial"

p256='-algorithm EC -pkeyopt ec_paramgen_curve:P-256'

# sign OUT KEY SUBJECT END EXTENSIONS SIGNER...: SIGNER is -selfsign -keyfile F, or -cert C -keyfile F
sign()
{
	out=$1 key=$2 subject=$3 end=$4
	printf '[e]\n%s\n' "$5" > "$work/ext"
	shift 5
	openssl req -new -key "$key" -subj "$subject" -out "$work/csr" 2>/dev/null
	openssl ca -batch -notext -config "$work/ca.cnf" -extfile "$work/ext" -extensions e \
		-startdate 20200101000000Z -enddate "$end" -in "$work/csr" -out "$out" "$@" 2>/dev/null
}

ca='basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash'
end=21200101000000Z

# root NAME CN KEYARGS...
root()
{
	name=$1 cn=$2
	shift 2
	openssl genpkey "$@" -out "$name.key" 2>/dev/null
	sign "$name.crt" "$name.key" "/CN=$cn" "$end" "$ca" -selfsign -keyfile "$name.key"
}

# shellcheck disable=SC2086
{
	root root 'Test Root' $p256
	root other 'Other Root' $p256
	root p384 'Test P-384 CA' -algorithm EC -pkeyopt ec_paramgen_curve:P-384
	root rsa 'Test RSA CA' -algorithm RSA -pkeyopt rsa_keygen_bits:2048
	openssl genpkey $p256 -out inter.key
}
openssl ec -in inter.key -out inter.sec1.key 2>/dev/null
openssl rsa -in rsa.key -traditional -out rsa.pkcs1.key 2>/dev/null
sign inter.crt inter.key '/O=Test/CN=Test Interception CA' "$end" \
	"$(echo "$ca" | sed 's/CA:TRUE/CA:TRUE,pathlen:0/')
authorityKeyIdentifier=keyid" -cert root.crt -keyfile root.key
sign notca.crt other.key /CN=leaf "$end" 'basicConstraints=CA:FALSE
subjectAltName=DNS:leaf.test' -cert root.crt -keyfile root.key
sign expired.crt root.key '/CN=Old CA' 20210101000000Z "$ca" -selfsign -keyfile root.key

"""The lab's certification authority, one certificate for each mail host, and the TLSA data made from them."""

import datetime
import hashlib
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


GOOD, SELF_SIGNED, EXPIRED, NAME_IN_CN = "good", "self-signed", "expired", "name in CN only"


class Authority:
    """Issues certificates into a directory: NAME.pem holds key, certificate and the CA's certificate."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name("Danelaw lab CA")
        self.certificate = self._sign(self.name, self.key.public_key(), None)
        self.issued = {}
        with open(self.ca_file, "wb") as out:
            out.write(_pem(self.certificate))

    @property
    def ca_file(self):
        return os.path.join(self.directory, "ca.pem")

    def issue(self, host, names=None, kind=GOOD, file=None):
        """The path of the file for host; names are what its certificate says, preset: the host's own name."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_name(host), key.public_key(), names or [host], kind,
                                 key if kind == SELF_SIGNED else None)
        path = os.path.join(self.directory, (file or host) + ".pem")
        with open(path, "wb") as out:
            out.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                        serialization.NoEncryption()))
            out.write(_pem(certificate))
            if kind != SELF_SIGNED:
                out.write(_pem(self.certificate))
        self.issued[host] = certificate
        return path

    def swap(self, host):
        """The host shows another certificate from now on; returns a function that brings its own back."""
        path, own = os.path.join(self.directory, host + ".pem"), self.issued[host]
        with open(path, "rb") as file:
            before = file.read()
        os.replace(self.issue(host, file=host + ".other"), path)
        self.issued[host] = own

        def back():
            with open(path + ".back", "wb") as out:
                out.write(before)
            os.replace(path + ".back", path)
        return back

    def tlsa(self, host, usage, selector, matching):
        """TLSA rdata for host; a matching type nobody knows gets a SHA-256 all the same."""
        certificate = self.certificate if usage in (0, 2) else self.issued[host]
        if selector == 0:
            data = certificate.public_bytes(serialization.Encoding.DER)
        else:
            data = certificate.public_key().public_bytes(serialization.Encoding.DER,
                                                         serialization.PublicFormat.SubjectPublicKeyInfo)
        if matching == 2:
            data = hashlib.sha512(data).digest()
        elif matching != 0:
            data = hashlib.sha256(data).digest()
        return f"{usage} {selector} {matching} {data.hex()}"

    def _sign(self, subject, public_key, names, kind=GOOD, own_key=None):
        now = datetime.datetime.utcnow()
        end = now + datetime.timedelta(days=30)
        if kind == EXPIRED:
            now, end = now - datetime.timedelta(days=9), now - datetime.timedelta(days=1)
        builder = (x509.CertificateBuilder().subject_name(subject)
                   .issuer_name(subject if own_key else self.name)
                   .public_key(public_key).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(end)
                   .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False))
        if names is not None and kind != NAME_IN_CN:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]),
                                            critical=False)
        return builder.sign(own_key or self.key, hashes.SHA256())


def _name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)

//! Private keys from PEM: PKCS#8, PKCS#1 and SEC1, and PKCS#8 under a passphrase as OpenSSL 3 writes it.
use super::der::{Reader, number, tag};
use super::pem::Section;
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// More rounds than anybody asks for, and few enough to end.
const ROUNDS_MAX: u32 = 10_000_000;

/// The first private key of a file.
pub fn first(
    sections: Vec<Section>,
    passphrase: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, &'static str> {
    for section in sections {
        if section.old_encryption {
            return Err(
                "the key is encrypted in the old PEM way, which is not supported: convert it with \
                 'openssl pkcs8 -topk8'",
            );
        }
        let der = section.der;
        return Ok(match section.label.as_str() {
            "PRIVATE KEY" => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
            "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
            "EC PRIVATE KEY" => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
            "ENCRYPTED PRIVATE KEY" => {
                let Some(passphrase) = passphrase else {
                    return Err("the key is encrypted and no passphrase is given");
                };
                let plain = decrypt(&der, passphrase)?;
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(plain))
            }
            _ => continue,
        });
    }
    Err("there is no private key in it")
}

/// 1.2.840.113549.1.5.13: PBES2, and .12: PBKDF2
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// 1.2.840.113549.2, with the number of a HMAC behind it.
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];
/// 2.16.840.1.101.3.4.1, with the number of a cipher behind it.
const AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];

/// What is encrypted, and how.
struct Sealed<'a> {
    salt: &'a [u8],
    rounds: NonZeroU32,
    hmac: pbkdf2::Algorithm,
    cipher: &'static Algorithm,
    key_len: usize,
    iv: [u8; 16],
    bytes: &'a [u8],
}

/// PKCS#8's encrypted form (RFC 5208 with RFC 8018): the key inside.
fn decrypt(der: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, &'static str> {
    let sealed = read(der)
        .ok_or("it is encrypted in a way that is not supported: use PBKDF2 with AES-CBC")?;
    let mut key = Zeroizing::new([0; 32]);
    let key = &mut key[..sealed.key_len];
    pbkdf2::derive(sealed.hmac, sealed.rounds, sealed.salt, passphrase, key);
    let wrong = "the passphrase is wrong";
    let key = UnboundCipherKey::new(sealed.cipher, key).map_err(|_| wrong)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| wrong)?;
    let context = DecryptionContext::Iv128(FixedLength::from(sealed.iv));
    let mut bytes = Zeroizing::new(sealed.bytes.to_vec());
    let plain = key.decrypt(&mut bytes, context).map_err(|_| wrong)?;
    // A wrong passphrase gets here by luck, once in 256 times: what comes out is no key.
    match Reader::new(plain).take(tag::SEQUENCE) {
        Some(_) => Ok(plain.to_vec()),
        None => Err(wrong),
    }
}

fn read(der: &[u8]) -> Option<Sealed<'_>> {
    let mut outer = Reader::new(der).take(tag::SEQUENCE)?.inside();
    let mut scheme = outer.take(tag::SEQUENCE)?.inside();
    let bytes = outer.take(tag::OCTET_STRING)?.body;
    scheme.take(tag::OID).filter(|oid| oid.body == PBES2)?;
    let mut parts = scheme.take(tag::SEQUENCE)?.inside();
    let mut derivation = parts.take(tag::SEQUENCE)?.inside();
    let mut cipher = parts.take(tag::SEQUENCE)?.inside();

    derivation.take(tag::OID).filter(|oid| oid.body == PBKDF2)?;
    let mut how = derivation.take(tag::SEQUENCE)?.inside();
    let salt = how.take(tag::OCTET_STRING)?.body;
    let rounds = number(how.take(tag::INTEGER)?.body).filter(|n| *n <= ROUNDS_MAX)?;
    how.take(tag::INTEGER); // the key's length, which the cipher says
    let hmac = match how.take(tag::SEQUENCE) {
        None => 7,
        Some(element) => *element
            .inside()
            .take(tag::OID)?
            .body
            .strip_prefix(HMAC)?
            .first()?,
    };
    let hmac = match hmac {
        7 => pbkdf2::PBKDF2_HMAC_SHA1,
        9 => pbkdf2::PBKDF2_HMAC_SHA256,
        10 => pbkdf2::PBKDF2_HMAC_SHA384,
        11 => pbkdf2::PBKDF2_HMAC_SHA512,
        _ => return None,
    };
    let number = *cipher.take(tag::OID)?.body.strip_prefix(AES)?.first()?;
    let (cipher_used, key_len) = match number {
        2 => (&AES_128, 16),
        22 => (&AES_192, 24),
        42 => (&AES_256, 32),
        _ => return None,
    };
    let iv = cipher.take(tag::OCTET_STRING)?.body.try_into().ok()?;
    Some(Sealed {
        salt,
        rounds: NonZeroU32::new(rounds)?,
        hmac,
        cipher: cipher_used,
        key_len,
        iv,
        bytes,
    })
}

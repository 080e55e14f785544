//! Whom to trust: a peer's chain is verified against the certificates that the operator names, and against
//! nothing else.
//!
//! Names of hosts are not compared, as in Redis and redis-cli: who trusts an authority for its servers trusts
//! all that it has signed for. Two kinds of certificates that Redis' users have made for years, and that
//! webpki alone refuses, are taken: those of version 1 (`openssl x509 -req` without extensions) directly
//! below an authority, and one that is itself among the trusted ones. Only what is an authority vouches for
//! others: whoever trusts the certificate of one client does not trust whom that client signs for.
use super::x509::{self, Certificate};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};

/// A certificate that is trusted.
#[derive(Debug)]
struct Authority {
    der: CertificateDer<'static>,
    /// `None`: it is no authority, and stands for itself alone.
    anchor: Option<TrustAnchor<'static>>,
    not_before: i64,
    not_after: i64,
}

/// The certificates that are trusted.
#[derive(Debug, Default)]
pub struct Trust(Vec<Authority>);

impl Trust {
    /// Adds one; the error says why it cannot be trusted in.
    pub fn add(&mut self, der: Vec<u8>) -> Result<(), String> {
        let der = CertificateDer::from(der);
        let facts = x509::read(&der).ok_or("not a certificate")?;
        let (not_before, not_after) = (facts.not_before, facts.not_after);
        let signs = facts.may_sign();
        let anchor = webpki::anchor_from_trusted_cert(&der)
            .map_err(|error| error.to_string())?
            .to_owned();
        let anchor = signs.then_some(anchor);
        self.0.push(Authority {
            der,
            anchor,
            not_before,
            not_after,
        });
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The trusted certificates.
    pub fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|authority| authority.der.as_ref())
    }

    fn at(&self, now_s: i64) -> impl Iterator<Item = &Authority> {
        self.0
            .iter()
            .filter(move |a| (a.not_before..=a.not_after).contains(&now_s))
    }
}

/// What one side asks of the other one's certificate.
#[derive(Debug)]
pub struct Verifier {
    /// `None`: whoever it is will do.
    pub trust: Option<Trust>,
    pub algorithms: WebPkiSupportedAlgorithms,
    /// Does a peer without a certificate fail? For servers only.
    pub mandatory: bool,
}

fn refused(error: CertificateError) -> Error {
    Error::InvalidCertificate(error)
}

impl Verifier {
    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Error> {
        let Some(trust) = &self.trust else {
            return Ok(());
        };
        let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let facts = x509::read(leaf).ok_or(refused(CertificateError::BadEncoding))?;
        if now_s < facts.not_before {
            return Err(refused(CertificateError::NotValidYet));
        }
        if now_s > facts.not_after {
            return Err(refused(CertificateError::Expired));
        }
        let itself = |a: &Authority| a.der.as_ref() == leaf.as_ref();
        if facts.issuer == facts.subject && trust.at(now_s).any(itself) {
            return Ok(());
        }
        if facts.version == 0 {
            return self.signed_directly(&facts, trust, now_s);
        }
        let anchors: Vec<TrustAnchor<'_>> = trust
            .at(now_s)
            .filter_map(|authority| authority.anchor.clone())
            .collect();
        let end = EndEntityCert::try_from(leaf).map_err(explain)?;
        end.verify_for_usage(
            self.algorithms.all,
            &anchors,
            intermediates,
            now,
            usage,
            None,
            None,
        )
        .map(drop)
        .map_err(explain)
    }

    /// A certificate without extensions, signed by one that is trusted.
    fn signed_directly(
        &self,
        leaf: &Certificate<'_>,
        trust: &Trust,
        now_s: i64,
    ) -> Result<(), Error> {
        let mut found = refused(CertificateError::UnknownIssuer);
        for authority in trust.at(now_s).filter(|a| a.anchor.is_some()) {
            let Some(issuer) = x509::read(&authority.der) else {
                continue;
            };
            if issuer.subject != leaf.issuer {
                continue;
            }
            let Some((key_algorithm, key)) = x509::key_parts(issuer.key) else {
                continue;
            };
            let signed = self.algorithms.all.iter().any(|algorithm| {
                algorithm.signature_alg_id().as_ref() == leaf.algorithm
                    && algorithm.public_key_alg_id().as_ref() == key_algorithm
                    && algorithm
                        .verify_signature(key, leaf.signed, leaf.signature)
                        .is_ok()
            });
            if signed {
                return Ok(());
            }
            found = refused(CertificateError::BadSignature);
        }
        Err(found)
    }

    /// Did the holder of the certificate's key sign this part of the handshake?
    fn signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        given: &DigitallySignedStruct,
        tls13: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let facts = x509::read(cert).ok_or(refused(CertificateError::BadEncoding))?;
        if facts.version != 0 {
            return match tls13 {
                true => verify_tls13_signature(message, cert, given, &self.algorithms),
                false => verify_tls12_signature(message, cert, given, &self.algorithms),
            };
        }
        if tls13 {
            let key = SubjectPublicKeyInfoDer::from(facts.key);
            return verify_tls13_signature_with_raw_key(message, &key, given, &self.algorithms);
        }
        let (key_algorithm, key) =
            x509::key_parts(facts.key).ok_or(refused(CertificateError::BadEncoding))?;
        let known = self
            .algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == given.scheme);
        let Some((_, algorithms)) = known else {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        };
        let valid = algorithms.iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key_algorithm
                && algorithm
                    .verify_signature(key, message, given.signature())
                    .is_ok()
        });
        match valid {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(refused(CertificateError::BadSignature)),
        }
    }
}

/// What webpki says, in the words that make the right alert.
fn explain(error: webpki::Error) -> Error {
    use webpki::Error as E;
    refused(match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { .. } | E::InvalidCertValidity => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

/// How signatures in a handshake are verified, whichever side it is.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.signature(message, cert, dss, false)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.signature(message, cert, dss, true)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.trust.is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // As Redis: a client shows the certificate it has.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.chain(end_entity, intermediates, now, KeyUsage::client_auth())
            .map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.chain(end_entity, intermediates, now, KeyUsage::server_auth())
            .map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

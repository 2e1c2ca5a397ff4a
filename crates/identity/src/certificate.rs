//! The certificates of a group's members.
//!
//! They say nothing that the secret does not: whoever knows it can make one for any key, and nobody else can. What one of
//! them proves is that its owner has the node key whose id it is called by.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};
use rustls::{
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    server::ParsedCertificate,
};
use zeroshare_wire::datagram::{PublicKey, SigningKey};

use crate::GroupSecret;

/// What every group's authority is called: nodes of all versions must agree, since a certificate names its issuer.
const AUTHORITY: &str = "zeroshare group";

/// Stands before an Ed25519 seed in PKCS #8 (RFC 8410, section 7).
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Stands before a public Ed25519 key in a certificate (RFC 8410, section 4).
const SPKI_ED25519: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The certificates that one member shows and checks with.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// Whose signatures count.
    pub(crate) authority: CertificateDer<'static>,
    /// The member's own.
    pub(crate) own: CertificateDer<'static>,
}

/// Makes a member's certificate.
///
/// It holds for as long as dates can be written: a member loses its place when the secret is changed, so a date would
/// only lock out machines whose clock is wrong, as that of a small board without a battery is at each start.
pub(crate) fn certify(
    secret: &GroupSecret,
    key: &SigningKey,
) -> Result<Certificates, rcgen::Error> {
    let authority_key = key_pair(secret.authority_seed())?;
    let authority = authority_params();
    let certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let own_key = key_pair(&key.seed())?;
    let own = member_params(secret, key)?.signed_by(&own_key, &issuer)?;
    Ok(Certificates {
        authority: certificate.der().clone(),
        own: own.der().clone(),
    })
}

/// A node's key as TLS takes it.
pub(crate) fn private_key(key: &SigningKey) -> PrivatePkcs8KeyDer<'static> {
    pkcs8(&key.seed())
}

/// The node key that a certificate is for; `None` where it is for another kind of key.
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let info = parsed.subject_public_key_info();
    let key = info.as_ref().strip_prefix(&SPKI_ED25519)?;
    Some(PublicKey::from_bytes(key.try_into().ok()?))
}

fn authority_params() -> CertificateParams {
    let mut params = params(AUTHORITY.to_owned());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn member_params(
    secret: &GroupSecret,
    key: &SigningKey,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params(key.node_id().to_string());
    let name = secret.name().try_into()?;
    params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.serial_number = Some(key.node_id().as_bytes().to_vec().into());
    Ok(params)
}

fn params(name: String) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

fn key_pair(seed: &[u8; 32]) -> Result<KeyPair, rcgen::Error> {
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8(seed), &PKCS_ED25519)
}

fn pkcs8(seed: &[u8; 32]) -> PrivatePkcs8KeyDer<'static> {
    PrivatePkcs8KeyDer::from([&PKCS8_ED25519[..], seed].concat())
}

//! Keys and identities of `zeromq://` links that are valid, but not as intended.

use std::path::Path;

use super::warnings::warnings;
use super::{from_x, good};
use crate::bridge::config::{CurveClientConfig, CurveKeys, PublicKeySource, SecretKeySource, ZeroMqLink};
use crate::zeromq::curve::KeyPair;

const LINK: &str = "[link.x]\nlisten = 'zeromq://127.0.0.1:5555'\n";
const CURVE: &str = "curve = { secret_key = 's', client = [{ name = 'sensor', public_key = 'c' }] }\n";

#[track_caller]
fn assert_warns(text: &str, expected: &[&str]) {
    let found = warnings(text);
    assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
    for (warning, expected) in found.iter().zip(expected) {
        assert!(warning.contains(expected), "{expected}: {warning}");
    }
}

#[test]
fn identities_that_no_peer_can_have_are_reported() {
    let encrypted = format!("{LINK}{CURVE}");
    let plain =
        "[link.x]\nlisten = 'ws://127.0.0.1:1'\nhub = true\ntoken = [{ name = 'soar', file = 'f' }]\n";
    let cases: [(&str, &str, &[&str]); 4] = [
        (&encrypted, "['curve:sensor', 'address:10.0.0.1']", &[]),
        (
            &encrypted,
            "['token:a', 'DNS:a', 'curve:sensor', 'curve:other']",
            &[
                "present no token, so token:a matches none of them; remove it, or use \"address:IP\"",
                "present no certificate, so DNS:a matches none of them",
                "a client that curve:other matches",
            ],
        ),
        (
            LINK,
            "['curve:sensor', 'address:10.0.0.1']",
            &["present no CURVE key with a name, so curve:sensor"],
        ),
        (plain, "['token:soar', 'subject:CN=a']", &["present no certificate, so subject:CN=a"]),
    ];
    for (link, identities, expected) in cases {
        assert_warns(&format!("{}identities = {identities}\n", from_x(link, "x")), expected);
        assert_warns(&from_x(&format!("{link}allow = {identities}\n"), "x"), expected);
    }
}

#[test]
fn a_ttl_without_effect_is_reported() {
    let other = "[link.nodes]\nlisten = '127.0.0.1:2152'\ntls = 'off'\n";
    let links = format!("{LINK}ttl = 3\n{other}");
    let within = from_x(&format!("{LINK}ttl = 3\n"), "x");
    assert_warns(
        &within,
        &["3: link.x.ttl: the messages of this link are forwarded only over ZeroMQ and the WebSocket API"],
    );
    let to_both =
        format!("{}[[rule]]\nname = 's'\nfrom = 'x'\nto = 'nodes'\ntopics = 'u'\n", from_x(&links, "x"));
    assert_warns(&to_both, &[]);
}

#[test]
fn exchanged_key_files_are_reported() {
    let listens = |secret: &str, client: &str| {
        let keys =
            format!("{{ secret_key = '{secret}', client = [{{ name = 'a', public_key = '{client}' }}] }}");
        from_x(&format!("{LINK}curve = {keys}\n"), "x")
    };
    assert_warns(&listens("d/server_secretkey", "d/client_publickey"), &[]);
    assert_warns(
        &listens("d/server_publickey", "d/client_secretkey"),
        &[
            "curve.secret_key: the name of the file server_publickey indicates a public key; use the file with the secret key",
            "curve.client: the name of the file client_secretkey indicates a secret key",
        ],
    );
}

#[test]
fn keys_that_are_the_same_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    // The public key of a pair is also valid as a secret key.
    let [own, other] = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
    let public = file("other", &other.public().to_string());
    let link = |curve| {
        let config = good(&from_x(LINK, "x"));
        ZeroMqLink { curve: Some(curve), ..config.links[0].zeromq.clone().unwrap() }
    };
    let load = |curve| link(curve).load("x").map(drop).map_err(|errors| errors.to_string());
    let secret = SecretKeySource::File(public.clone());
    let named = |public_key| vec![CurveClientConfig { name: "a".to_owned(), public_key }];
    let same = "the key is the same as secret_key; use the file with the public key here";
    let client = |server, public| CurveKeys::Client { server, public, secret: secret.clone() };
    let [same_file, good_key] = [PublicKeySource::File(public.clone()), PublicKeySource::Key(*own.public())];
    for (curve, expected) in [
        (client(same_file.clone(), None), format!("link.x.curve.server_key: {same}")),
        (client(good_key, Some(same_file.clone())), format!("link.x.curve.public_key: {same}")),
        (
            CurveKeys::Server { secret: secret.clone(), clients: named(same_file) },
            format!("link.x.curve.client: client a: {same}"),
        ),
        (
            CurveKeys::Server {
                secret: SecretKeySource::File(file("own", &own.secret().expose_z85())),
                clients: named(PublicKeySource::Key(*own.public())),
            },
            "link.x.curve.client: client a: the key is the public key of this bridge; use".to_owned(),
        ),
        (
            CurveKeys::Server { secret, clients: named(PublicKeySource::File(Path::new("/none/abc").into())) },
            "check the name, the type and the permissions of the file; if the value is a key and not a file, write all of its \
             40 characters"
                .to_owned(),
        ),
    ] {
        let error = load(curve).unwrap_err();
        assert!(error.contains(&expected), "{expected}: {error}");
        assert!(!error.contains("the public key of the secret key"), "a second error for the same key: {error}");
    }
}

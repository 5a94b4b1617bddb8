//! Tests of the keys of the HTTP server.

use super::*;

const TLS: &str = "http_tls = { certificate = 'c', keyfile = 'k' }";
const TOKEN: &str = "http_token = [{ name = 'admin', file = 't' }]";

/// A valid file with these lines in its table `[bridge]`, which begins at line 1.
fn with_bridge(keys: &str) -> String {
    format!("[bridge]\n{keys}\n{NODES}[link.x]\nlisten = '127.0.0.1:2153'\ntls = 'off'\n{RULE}")
}

fn http(keys: &str) -> Http {
    good(&with_bridge(keys)).operation.http.unwrap()
}

fn warnings(keys: &str) -> Vec<String> {
    let file = ConfigFile::parse(&with_bridge(keys), FILE).unwrap();
    let warnings = file.warnings().into_iter().filter(|warning| warning.key.starts_with("bridge."));
    warnings.map(|warning| warning.to_string()).collect()
}

#[test]
fn all_keys_are_parsed() {
    let text = "http = '192.0.2.1:9747'\n\
                http_tls = { certificate = 'c.pem', keyfile = 'k.pem', passphrase_file = 'p', cafile = 'ca.pem', capath = 'cas' }\n\
                [[bridge.http_token]]\nname = 'admin'\nfile = 'admin.token'\n\
                [[bridge.http_token]]\nname = 'other'\nenv = 'TOKEN'";
    let token = |name: &str, source| TokenConfig { name: name.to_owned(), source };
    let files = TlsFiles {
        cafile: Some("/etc/zb/ca.pem".into()),
        capath: Some("/etc/zb/cas".into()),
        certificate: Some("/etc/zb/c.pem".into()),
        keyfile: Some("/etc/zb/k.pem".into()),
        passphrase_file: Some("/etc/zb/p".into()),
        verify_name: None,
        backend: Backend::Auto,
    };
    let expected = Http {
        address: "192.0.2.1:9747".parse().unwrap(),
        tokens: vec![
            token("admin", TokenSource::File("/etc/zb/admin.token".into())),
            token("other", TokenSource::Environment("TOKEN".to_owned())),
        ],
        tls: LinkTls::Mutual(files),
    };
    assert_eq!(http(text), expected);
    let summary = good(&with_bridge(text)).operation.to_string();
    let start = "bridge: page and metrics on https://192.0.2.1:9747, requires a certificate, requires one of the tokens admin, \
                 other, status on ";
    assert!(summary.starts_with(start), "{summary}");
    assert_eq!(good(&with_bridge("")).operation.http, Some(Http::default()));
    assert_eq!(good(&with_bridge("http = 'off'")).operation.http, None);
}

#[test]
fn metrics_is_the_older_name_of_the_address() {
    assert_eq!(http("metrics = '127.0.0.1:1'"), http("http = '127.0.0.1:1'"));
    assert_eq!(good(&with_bridge("metrics = 'off'")).operation.http, None);
    assert_errors(
        &with_bridge("metrics = '127.0.0.1:1'\nhttp = '127.0.0.1:1'"),
        &["2: bridge.metrics: .. older name of http"],
    );
    assert!(warnings("\nmetrics = '0.0.0.0:1'")[0].contains(":3: bridge.http: "));
}

#[test]
fn the_page_is_served_on_loopback_or_encrypted_with_proof() {
    let mutual = "http_tls = { certificate = 'c', keyfile = 'k', cafile = 'ca' }";
    for (keys, has_page, warning) in [
        ("http = '127.0.0.1:1'".to_owned(), true, None),
        ("http = '[::1]:1'".to_owned(), true, None),
        (TOKEN.to_owned(), true, None),
        (TLS.to_owned(), true, None),
        ("http = '0.0.0.0:1'".to_owned(), false, Some("and the page is not served there")),
        (format!("http = '0.0.0.0:1'\n{TLS}"), false, Some("and the page is not served there")),
        (format!("http = '0.0.0.0:1'\n{TLS}\n{TOKEN}"), true, Some("can read the metrics; set cafile")),
        (format!("http = '0.0.0.0:1'\n{mutual}"), true, None),
    ] {
        assert_eq!(http(&keys).has_page(), has_page, "{keys}");
        let warnings = warnings(&keys);
        assert_eq!(warnings.len(), usize::from(warning.is_some()), "{keys}: {warnings:?}");
        assert!(warning.is_none_or(|warning| warnings[0].contains(warning)), "{keys}: {warnings:?}");
    }
}

#[test]
fn invalid_keys_are_reported() {
    for (keys, expected) in [
        (
            format!("http = '0.0.0.0:1'\n{TOKEN}"),
            &["3: bridge.http_token: .. tokens are not used with 0.0.0.0:1: http is not encrypted"][..],
        ),
        (
            format!("http = 'off'\n{TOKEN}\n{TLS}"),
            &["3: bridge.http_token: .. http = \"off\"", "4: bridge.http_tls: .. http = \"off\""],
        ),
        ("http_tls = 'on'".to_owned(), &["2: bridge.http_tls: .. write { certificate = "]),
        (
            "http_tls = { certificate = 'c' }".to_owned(),
            &["2: bridge.http_tls.keyfile: .. https requires certificate and keyfile"],
        ),
        (
            "http_tls = { cafile = 'c' }".to_owned(),
            &["2: bridge.http_tls.certificate: .. mutual TLS", "2: bridge.http_tls.keyfile: .. mutual TLS"],
        ),
        (
            "http_tls = { certificate = 'c', keyfile = 'k', tls = 'off' }".to_owned(),
            &["2: bridge.http_tls.tls: .. unknown key"],
        ),
        (
            "http_token = 'secret'".to_owned(),
            &["2: bridge.http_token: .. write [[bridge.http_token]], in double brackets"],
        ),
        ("http_token = [{ file = 'f' }]".to_owned(), &["2: bridge.http_token.name: .. no name"]),
    ] {
        assert_errors(&with_bridge(&keys), expected);
    }
}

#[test]
fn all_files_that_cannot_be_used_are_reported() {
    let keys = format!("{TLS}\n{TOKEN}");
    let errors = http(&keys).load().unwrap_err();
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys, ["bridge.http_tls.certificate", "bridge.http_tls.keyfile", "bridge.http_token"]);
}

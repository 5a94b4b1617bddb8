//! Random configurations: no text causes a panic.

use proptest::prelude::*;

use super::*;

/// Random sequences of parts of configurations.
fn pieces() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "[bridge]",
        "[link.a]",
        "[link.b]",
        "[[rule]]",
        "[link]",
        "[link.a.limits]",
        "[link.a.chaos]",
        "[rule]",
        "log",
        "http",
        "http_token",
        "http_tls",
        "status",
        "faces",
        "connect",
        "listen",
        "tls",
        "cafile",
        "hub",
        "retry",
        "allow",
        "name",
        "from",
        "to",
        "topics",
        "events",
        "nodes",
        "actions",
        "identities",
        "commands",
        "frame",
        "depth",
        "drop",
        "delay",
        "= \"agents\"",
        "= \"off\"",
        "= \"a\"",
        "= [\"a\", \"b\"]",
        "= 1",
        "= -1",
        "= 1.5",
        "= nan",
        "= inf",
        "= true",
        "= []",
        "= {}",
        "= [[]]",
        "= { first = \"1s\" }",
        "= \"127.0.0.1:0\"",
        "= \"ä:1\"",
        "= 1979-05-27",
        "= \"10s\"",
        "= \"99999999999999999999y\"",
        "= \"999999999999EiB\"",
        "= 0xffffffffffffffffffff",
        "=",
        "[",
        "]",
        "\"",
        "'",
        "{",
        "}",
        "\n",
        "\r\n",
        "\0",
        "\\",
        "#",
        ".",
        "ä",
        "\u{feff}",
    ]);
    prop::collection::vec((parts, any::<bool>()), 0..60).prop_map(|parts| {
        parts.into_iter().flat_map(|(part, ends)| [part, if ends { "\n" } else { " " }]).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_causes_a_panic(text in any::<String>()) {
        check_diagnostics(&text);
    }

    #[test]
    fn no_configuration_causes_a_panic(text in pieces()) {
        check_diagnostics(&text);
    }

    #[test]
    fn a_changed_character_causes_no_panic(at in any::<prop::sample::Index>(), with in any::<char>()) {
        let mut text: Vec<char> = format!("{LINKS_FOR_DEFAULT_RULES}{}", errors::RULES).chars().collect();
        let at = at.index(text.len());
        text[at] = with;
        check_diagnostics(&text.into_iter().collect::<String>());
    }
}

/// Asserts that each error and warning is a single line and refers to a line of the text.
fn check_diagnostics(text: &str) {
    let lines = text.split('\n').count();
    let good = |diagnostics: &mut dyn Iterator<Item = &Diagnostic>| {
        for error in diagnostics {
            assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error}");
            let shown = error.to_string();
            assert!(!shown.contains(['\n', '\0']), "{shown:?}");
        }
    };
    match ConfigFile::parse(text, FILE) {
        Ok(file) => {
            good(&mut file.warnings().iter());
            let links = file.config.links.iter().map(ToString::to_string);
            let rules = file.config.rules.iter().map(ToString::to_string);
            for line in links.chain(rules).chain([file.config.operation.to_string()]) {
                assert!(!line.contains('\n'), "{line:?}");
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "{text:?}");
            good(&mut errors.iter());
        }
    }
}

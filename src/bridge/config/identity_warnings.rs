//! Warns of identities that no peer can have.

use super::diagnostic::Warn;
use super::schema::{CurveKeys, IdentityPattern, LinkConfig};

/// Warns of identities in `allow` that no peer of the link can have.
pub(super) fn check_link(link: &LinkConfig, warn: &mut Warn<'_>) {
    check("allow", &link.allow, &[link], ["this link", "this link does not have a"], warn);
}

/// Warns of identities of a rule that no peer of the links in `from` can have.
pub(super) fn check_rule(identities: &[IdentityPattern], from: &[&LinkConfig], warn: &mut Warn<'_>) {
    check("identities", identities, from, ["the links in from", "no link in from has a"], warn);
}

/// Warns of identities that no peer of the links can have. `whose` is the name of the links in a message. `none_has` is the start of
/// the message about a name that does not exist in the links.
fn check(
    key: &str,
    identities: &[IdentityPattern],
    links: &[&LinkConfig],
    [whose, none_has]: [&str; 2],
    warn: &mut Warn<'_>,
) {
    for identity in identities {
        if !links.iter().any(|link| link.has_kind_of(identity)) {
            let proof = match identity {
                IdentityPattern::Token(_) => "token",
                IdentityPattern::Curve(_) => "CURVE key with a name",
                _ => "certificate",
            };
            let message =
                format!("the peers of {whose} present no {proof}, so {identity} matches none of them");
            let hint = if links.iter().all(|link| link.zeromq.is_some()) {
                "remove it, or use \"address:IP\" or, for a link that listens with curve, \"curve:NAME\""
            } else {
                "remove it, or check the word before the colon"
            };
            warn(key, message, hint);
        } else if !links.iter().any(|link| has_name(link, identity)) {
            let (kind, location) = match identity {
                IdentityPattern::Token(_) => ("token", "[[link.NAME.token]]"),
                _ => ("client", "curve of [link.NAME]"),
            };
            let message = format!("{none_has} {kind} that {identity} matches");
            warn(key, message, &format!("check the name; it is the name in {location}"));
        }
    }
}

/// Returns whether a link has a name that the pattern matches. The names in certificates and the addresses are not known.
fn has_name(link: &LinkConfig, identity: &IdentityPattern) -> bool {
    match identity {
        IdentityPattern::Token(_) => {
            let mut tokens = link.websocket.iter().flat_map(|websocket| &websocket.tokens);
            tokens.any(|token| identity.matches_token(&token.name))
        }
        IdentityPattern::Curve(_) => match link.zeromq.as_ref().and_then(|zeromq| zeromq.curve.as_ref()) {
            Some(CurveKeys::Server { clients, .. }) => {
                clients.iter().any(|client| identity.matches_curve(&client.name))
            }
            _ => false,
        },
        _ => true,
    }
}

//! The address and TLS options of a command. These are the sources; earlier ones have priority:
//!
//! 1. the command line;
//! 2. the profile that the command line names;
//! 3. the environment;
//! 4. the profile that the environment names, or the default profile.
//!
//! The address, the TLS options and the keys of CURVE are chosen separately. All TLS options are taken from the first source that sets any of them.
//! A mixture of several sources could result in a TLS mode that no source has chosen. The same applies to the keys of CURVE, whose
//! last source are Zeek's variables; the secret key may also be in the environment if the other keys are in another source.

mod environment;
mod profile;
mod zeromq;

use zeek_bridge::endpoint::Retry;
use zeek_bridge::net::Scheme;
use zeek_bridge::net::tls::Tls;

use crate::args::tls::{self, TlsArgs, TlsChoice};
use crate::args::{Address, AddressArg, CurveArgs, NetworkArgs, Role, Source, scheme};
use crate::output::{Exit, Failure};

pub(crate) use profile::HELP as PROFILE_HELP;
pub(crate) use zeromq::ZeroMqSettings;

/// The settings of a command that uses the network.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) address: Address,
    pub(crate) retry: Retry,
    pub(crate) tls: TlsSettings,
    pub(crate) zeromq: ZeroMqSettings,
}

/// The TLS options of one source.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    pub(crate) args: TlsArgs,
    source: Source,
    /// The next source that also sets TLS options. Its TLS options are not used.
    unused: Option<Source>,
    /// The scheme and the role of this program, for an address whose scheme selects TLS.
    scheme: Option<(Scheme, Role)>,
}

/// The settings of a source other than the command line.
#[derive(Debug)]
struct Layer {
    source: Source,
    connect: Option<AddressArg>,
    tls: TlsArgs,
    curve: CurveArgs,
}

/// Chooses the settings of a command. `agent` returns the address in the variables of Zeek's Management framework. These variables
/// have priority over the variables of this program.
pub(crate) fn choose(
    args: NetworkArgs,
    curve: CurveArgs,
    agent: impl FnOnce() -> Result<Option<Address>, Failure>,
) -> Result<Settings, Failure> {
    let NetworkArgs { address, profile, retry, tls } = args;
    let own = address.address();
    let layers = Layers::new(profile.profile, own.is_some() && tls.chooses())?;
    let chosen = match own {
        Some(address) => Some((address, Source::COMMAND_LINE)),
        None => match layers.address_of_named_profile() {
            Some(found) => Some(found),
            None => agent()?.map(|address| (address, Source::Agent)).or_else(|| layers.address()),
        },
    };
    let Some((address, source)) = chosen else {
        return Err(no_address("use --connect HOST:PORT or --listen ADDR:PORT"));
    };
    let (Address::Connect(text) | Address::Listen(text)) = &address;
    let zeromq = ZeroMqSettings::choose(curve, &layers.layers, &address, &source)?;
    if scheme(text) != Scheme::Broker {
        let tls = layers.tls_of_scheme(tls, &address, &source)?;
        return Ok(Settings { address, retry: retry.0, tls, zeromq });
    }
    let tls = layers.tls(tls).ok_or_else(|| {
        let auto = match &address {
            Address::Connect(_) => "; --tls auto probes the peer, and chooses anonymous TLS or off",
            Address::Listen(_) => "",
        };
        Failure::usage(format!("{}{auto}", tls::not_set(&Source::COMMAND_LINE)))
    })?;
    if source != Source::COMMAND_LINE || tls.source != Source::COMMAND_LINE {
        let (Address::Connect(shown) | Address::Listen(shown)) = &address;
        tracing::info!("address {shown} from {source}; TLS options from {}", tls.source);
    }
    Ok(Settings { address, retry: retry.0, tls, zeromq })
}

/// Chooses the target of a probe, and the options for the certificates to present, if any source sets them.
pub(crate) fn choose_for_probe(
    target: Option<AddressArg>,
    profile: Option<String>,
    certificates: TlsArgs,
    curve: CurveArgs,
) -> Result<(AddressArg, Option<TlsSettings>, ZeroMqSettings), Failure> {
    let layers = Layers::new(profile, target.is_some() && certificates.chooses())?;
    let (target, source) = match target {
        Some(target) => (target, Source::COMMAND_LINE),
        None => match layers.address() {
            Some((Address::Connect(target), source)) => {
                tracing::info!("address {target} from {source}");
                (AddressArg(target), source)
            }
            _ => return Err(no_address("name one as HOST:PORT")),
        },
    };
    let address = Address::Connect(target.0.clone());
    let zeromq = ZeroMqSettings::choose(curve, &layers.layers, &address, &source)?;
    if scheme(&target.0) != Scheme::Broker {
        let tls = layers.tls_of_scheme(certificates, &address, &source)?;
        return Ok((target, Some(tls), zeromq));
    }
    let tls = layers.tls(certificates);
    if let Some(TlsSettings { args, source, unused: Some(unused), .. }) = &tls
        && !args.chooses()
    {
        // Otherwise, the probe would present no certificate, although there is a source with certificates.
        return Err(Failure::usage(format!(
            "{} alone sets no certificates, and the TLS options of {unused} are not used, because {source} sets TLS options; \
             set the certificates there, too",
            source.option("tls-backend")
        )));
    }
    if let Some(TlsSettings { source, .. }) = &tls
        && *source != Source::COMMAND_LINE
    {
        tracing::info!("TLS options from {source}");
    }
    Ok((target, tls, zeromq))
}

fn no_address(hint: &str) -> Failure {
    Failure::usage(format!(
        "no address is set; {hint}, or set ZEEK_BRIDGE_CONNECT, or `connect` in a profile (see --profile)"
    ))
}

/// The settings of the environment and of a profile, in order of precedence.
struct Layers {
    layers: Vec<Layer>,
    /// Whether the command line names the profile. The profile is then the first layer.
    is_profile_named: bool,
}

impl Layers {
    /// Reads the layers. If `complete`, the command line has all settings, so that no layer is needed. A profile that the command
    /// line names is still read, to report errors in the profile.
    fn new(profile: Option<String>, complete: bool) -> Result<Self, Failure> {
        if complete && profile.is_none() {
            return Ok(Layers { layers: Vec::new(), is_profile_named: false });
        }
        let is_profile_named = profile.is_some();
        let profile = profile::read(match profile {
            Some(name) => Some(name),
            None => environment::profile()?,
        })?;
        let mut layers: Vec<Layer> = [environment::read()?].into_iter().chain(profile).collect();
        if is_profile_named {
            // A profile that the command line names is as explicit as an option. A variable may have been set long ago.
            layers.reverse();
        }
        Ok(Layers { layers, is_profile_named })
    }

    fn address_of_named_profile(&self) -> Option<(Address, Source)> {
        let profile = self.layers.first().filter(|_| self.is_profile_named)?;
        let AddressArg(target) = profile.connect.clone()?;
        Some((Address::Connect(target), profile.source.clone()))
    }

    fn address(&self) -> Option<(Address, Source)> {
        let first = self.layers.iter().find_map(|layer| Some((layer.connect.clone()?, layer.source.clone())));
        first.map(|(AddressArg(target), source)| (Address::Connect(target), source))
    }

    /// Returns the TLS options for an address of the WebSocket API or of ZeroMQ. Its scheme selects the TLS mode, so a mode in a different
    /// source than that of the address, which is probably meant for Broker, is ignored.
    fn tls_of_scheme(self, own: TlsArgs, address: &Address, source: &Source) -> Result<TlsSettings, Failure> {
        let (text, role) = match address {
            Address::Connect(text) => (text, Role::Client),
            Address::Listen(text) => (text, Role::Server),
        };
        let scheme = scheme(text);
        let set = self.tls(own);
        let is_explicit = |set: &&TlsSettings| set.source == Source::COMMAND_LINE || set.source == *source;
        if let Some(set) = set.as_ref().filter(is_explicit)
            && let Some(reason) = set.args.conflict_with(scheme)
        {
            let option = set.args.first_option();
            return Err(Failure::usage(set.source.locate(format!(
                "{} cannot be used with {text}: {reason}; remove the option",
                set.source.option(option)
            ))));
        }
        let empty = || TlsSettings {
            args: TlsArgs::default(),
            source: Source::COMMAND_LINE,
            unused: None,
            scheme: None,
        };
        let set = set.filter(|set| scheme == Scheme::SecureWebSocket && !set.args.has_mode());
        Ok(TlsSettings { scheme: Some((scheme, role)), ..set.unwrap_or_else(empty) })
    }

    /// Returns the TLS options of the first source that sets any.
    fn tls(self, own: TlsArgs) -> Option<TlsSettings> {
        let own =
            Layer { source: Source::COMMAND_LINE, connect: None, tls: own, curve: CurveArgs::default() };
        let mut set = std::iter::once(own).chain(self.layers).filter(|layer| !layer.tls.is_empty());
        let (first, next) = (set.next()?, set.next());
        // The command line is explicit; a variable may have been set long ago.
        if let (Source::Environment, Some(next)) = (&first.source, &next)
            && first.tls.strength() < next.tls.strength()
        {
            tracing::warn!(
                "the TLS options in the environment replace the stronger ones of {}; unset the ZEEK_BRIDGE_ variables for \
                 TLS to use those",
                next.source
            );
        }
        let unused = next.map(|layer| layer.source);
        Some(TlsSettings { args: first.tls, source: first.source, unused, scheme: None })
    }
}

impl TlsSettings {
    /// Reads the certificates, if there are any.
    pub(crate) fn load(&self) -> Result<TlsChoice, Failure> {
        let chosen = match self.scheme {
            None => self.args.choose(&self.source),
            Some((Scheme::SecureWebSocket, role)) => {
                self.args.secure(&self.source, role).map(TlsChoice::Fixed)
            }
            Some(_) => Ok(TlsChoice::Fixed(Tls::Off)),
        };
        chosen.map_err(|failure| match (&self.unused, failure) {
            // The option that is missing may be set in the unused source.
            (Some(unused), Failure::Error(Exit::Usage, message)) if !self.args.has_mode() => {
                Failure::usage(format!(
                    "{message}; the TLS options of {unused} are not used, because {} sets TLS options",
                    self.source
                ))
            }
            (_, failure) => failure,
        })
    }

    /// Returns an option with its value in the notation of [`TlsSettings::source`].
    pub(crate) fn setting(&self, option: &str, value: &str) -> String {
        self.source.setting(option, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(source: Source, options: &[(&str, &str)]) -> Layer {
        let mut tls = TlsArgs::default();
        options.iter().for_each(|(option, value)| tls.set(option, (*value).into()).unwrap());
        Layer { source, connect: None, tls, curve: CurveArgs::default() }
    }

    #[test]
    fn the_first_source_with_a_tls_option_replaces_the_tls_options_of_the_others() {
        let profile = || Source::Profile { name: "p".into(), file: "f".into() };
        let files = [("cafile", "ca"), ("certificate", "c"), ("keyfile", "k")];
        let tls = |own: &[_], variables: &[_]| {
            let layers = vec![layer(Source::Environment, variables), layer(profile(), &files)];
            let layers = Layers { layers, is_profile_named: false };
            let chosen = layers.tls(layer(Source::COMMAND_LINE, own).tls).unwrap();
            (chosen.source, chosen.args.certificates.as_options())
        };
        let all = files.map(|(name, value)| (name, value.to_owned())).to_vec();
        assert_eq!(tls(&[], &[]), (profile(), all));
        assert_eq!(tls(&[], &[("tls", "off")]), (Source::Environment, vec![]));
        let name = vec![("verify-name", "n".to_owned())];
        assert_eq!(tls(&[("verify-name", "n")], &files), (Source::COMMAND_LINE, name));
        let none = Layers { layers: Vec::new(), is_profile_named: false };
        assert!(none.tls(TlsArgs::default()).is_none());
    }
}

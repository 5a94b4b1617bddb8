//! The settings of ZeroMQ.

use std::ffi::OsStr;

use zeek_bridge::endpoint::ZeroMqConfig;
use zeek_bridge::net::Scheme;

use super::Layer;
use crate::args::curve::CURVE_OPTIONS;
use crate::args::{CurveArgs, Source, protocol_of, scheme};
use crate::output::Failure;

/// The settings of ZeroMQ.
#[derive(Debug, Default)]
pub(crate) struct ZeroMqSettings {
    /// The keys of CURVE, with their source.
    curve: Option<(CurveArgs, Source)>,
}

impl ZeroMqSettings {
    /// Chooses the settings for an address from `source`: `own` from the command line, then those of the layers, then Zeek's
    /// variables.
    ///
    /// # Errors
    /// Fails if the command line, or the source of the address, sets keys, and the address is not one of ZeroMQ.
    pub(super) fn choose(
        own: CurveArgs,
        layers: &[Layer],
        address: &str,
        source: &Source,
    ) -> Result<Self, Failure> {
        let zeek = (CurveArgs::from_environment(&Source::Zeek), Source::Zeek);
        let layers = layers.iter().map(|layer| (layer.curve.clone(), layer.source.clone()));
        let sets = [(own, Source::COMMAND_LINE)].into_iter().chain(layers).chain([zeek]);
        let sets: Vec<_> = sets.filter(|(keys, _)| keys.first_option().is_some()).collect();
        if scheme(address) != Scheme::ZeroMq {
            let is_explicit = |other: &Source| *other == Source::COMMAND_LINE || other == source;
            return match sets.iter().find(|(_, other)| is_explicit(other)) {
                None => Ok(ZeroMqSettings::default()),
                Some((keys, other)) => Err(Failure::usage(other.locate(format!(
                    "{} is for zeromq:// addresses, and {address} is an address of {}; remove it",
                    other.option(keys.first_option().unwrap_or_default()),
                    protocol_of(address)
                )))),
            };
        }
        // A secret key in the environment may belong to the public keys of another source.
        let is_complete = |(keys, source): &&(CurveArgs, Source)| {
            *source != Source::Environment || !keys.is_secret_key_only()
        };
        let curve = sets.iter().find(is_complete).or(sets.first()).cloned();
        if let Some((_, source)) = &curve
            && *source != Source::COMMAND_LINE
        {
            tracing::info!("keys of CURVE from {source}");
        }
        Ok(ZeroMqSettings { curve })
    }

    /// Returns whether any key is set.
    pub(crate) fn has_keys(&self) -> bool {
        self.curve.is_some()
    }

    /// Returns the options for keys on a command line, if the keys are from the command line or a profile.
    pub(crate) fn key_options(&self) -> Vec<(&'static str, &OsStr)> {
        let set = self.curve.as_ref();
        let set = set.filter(|(_, source)| !matches!(source, Source::Environment | Source::Zeek));
        set.map(|(keys, _)| keys.as_options()).unwrap_or_default()
    }

    /// Reads the keys, if there are any.
    pub(crate) fn load(&self) -> Result<ZeroMqConfig, Failure> {
        let client = self.curve.as_ref().map(|(keys, source)| keys.client(source)).transpose()?;
        Ok(ZeroMqConfig { client, ..ZeroMqConfig::default() })
    }

    /// Reads the keys of a server from the command line, if there are any. Keys from elsewhere are those of a client.
    pub(crate) fn load_server(&self) -> Result<ZeroMqConfig, Failure> {
        let own = self.curve.as_ref().filter(|(_, source)| *source == Source::COMMAND_LINE);
        let server = own.map(|(keys, source)| keys.server(source)).transpose()?;
        Ok(ZeroMqConfig { server, ..ZeroMqConfig::default() })
    }

    /// Returns the options that fix the keys: those that set them, or could set them.
    pub(crate) fn hint(&self) -> String {
        let (verb, source) = match &self.curve {
            None => ("for a cluster with CURVE, set", &Source::COMMAND_LINE),
            Some((_, source)) => ("check", source),
        };
        let [server, public, secret] = CURVE_OPTIONS.map(|option| source.option(option));
        source.locate(format!("{verb} {server}, {public} and {secret}"))
    }
}

//! The settings of ZeroMQ.

use std::ffi::OsStr;

use zeek_bridge::endpoint::ZeroMqConfig;
use zeek_bridge::net::Scheme;

use super::Layer;
use crate::args::curve::CURVE_OPTIONS;
use crate::args::{Address, CurveArgs, Role, Source, protocol_of, scheme};
use crate::output::Failure;

/// The settings of ZeroMQ.
#[derive(Debug, Default)]
pub(crate) struct ZeroMqSettings {
    /// The keys of CURVE, with their source and the role of this program.
    curve: Option<(CurveArgs, Source, Role)>,
}

impl ZeroMqSettings {
    /// Chooses the keys for an address that was set by `source`. Uses the first of these that sets keys: `own` from the command line,
    /// the layers, and Zeek's variables. The keys of profiles are only for clients.
    ///
    /// # Errors
    /// Fails if the address is not one of ZeroMQ, but the command line or `source` sets keys.
    pub(super) fn choose(
        own: CurveArgs,
        layers: &[Layer],
        address: &Address,
        source: &Source,
    ) -> Result<Self, Failure> {
        let (address, role) = match address {
            Address::Connect(address) => (address, Role::Client),
            Address::Listen(address) => (address, Role::Server),
        };
        let zeek = (CurveArgs::from_environment(&Source::Zeek(role)), Source::Zeek(role));
        let is_for_role = |layer: &&Layer| role == Role::Client || layer.source == Source::Environment;
        let layers =
            layers.iter().filter(is_for_role).map(|layer| (layer.curve.clone(), layer.source.clone()));
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
        let curve = curve.map(|(keys, source)| (keys, source, role));
        if let Some((_, source, _)) = &curve
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

    /// Returns the options that set the same keys on a command line. Empty if the keys are from the environment.
    pub(crate) fn key_options(&self) -> Vec<(&'static str, &OsStr)> {
        let set = self.curve.as_ref();
        let set = set.filter(|(_, source, _)| !matches!(source, Source::Environment | Source::Zeek(_)));
        set.map(|(keys, ..)| keys.as_options()).unwrap_or_default()
    }

    /// Reads the keys, if there are any.
    pub(crate) fn load(&self) -> Result<ZeroMqConfig, Failure> {
        let mut config = ZeroMqConfig::default();
        match &self.curve {
            Some((keys, source, Role::Client)) => config.client = Some(keys.client(source)?),
            Some((keys, source, Role::Server)) => config.server = Some(keys.server(source)?),
            None => {}
        }
        Ok(config)
    }

    /// Returns a hint for wrong or missing keys, with the names of the options to check or to set.
    pub(crate) fn hint(&self) -> String {
        let (verb, source) = match &self.curve {
            None => ("for a cluster with CURVE, set", &Source::COMMAND_LINE),
            Some((_, source, _)) => ("check", source),
        };
        let [server, public, secret] = CURVE_OPTIONS.map(|option| source.option(option));
        source.locate(format!("{verb} {server}, {public} and {secret}"))
    }
}

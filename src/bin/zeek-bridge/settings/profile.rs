//! Profiles: named sets of an address and TLS options, in a configuration file of the user.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use zeek_bridge::zeromq::curve::PublicKey;

use super::Layer;
use crate::args::curve::{PUBLIC_KEY, SECRET_KEY, SERVER_KEY};
use crate::args::tls::TlsArgs;
use crate::args::{CurveArgs, Source, connect_address};
use crate::environment::var;
use crate::output::{Failure, printable};

/// The profile that applies if none is selected.
const DEFAULT: &str = "default";

/// The section about this file in the manual pages.
pub(crate) const HELP: &str = "\
Files:
  $XDG_CONFIG_HOME/zeek-bridge/config.toml, by default ~/.config/zeek-bridge/config.toml
    profiles, for tap, publish, probe, node and dispatch:
      [profile.prod]
      connect = \"zeek.example:9999\"
      cafile = \"pki/ca.pem\"
      certificate = \"pki/client.pem\"
      keyfile = \"pki/client.key\"
    --profile selects one; [profile.default] applies if none is selected. The other
    keys are tls, capath, passphrase_file, verify_name, tls_backend, curve_server_key,
    curve_public_key and curve_secret_key. Paths are relative to the directory of the file.";

/// The content of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

/// The settings of a profile, with their positions in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    connect: Option<Spanned<String>>,
    tls: Option<Spanned<String>>,
    cafile: Option<Spanned<String>>,
    capath: Option<Spanned<String>>,
    certificate: Option<Spanned<String>>,
    keyfile: Option<Spanned<String>>,
    passphrase_file: Option<Spanned<String>>,
    verify_name: Option<Spanned<String>>,
    tls_backend: Option<Spanned<String>>,
    curve_server_key: Option<Spanned<String>>,
    curve_public_key: Option<Spanned<String>>,
    curve_secret_key: Option<Spanned<String>>,
}

/// Returns the settings of the named profile. Without a name, returns those of the default profile, if it exists.
pub(super) fn read(name: Option<String>) -> Result<Option<Layer>, Failure> {
    let Some(path) = path() else {
        let Some(name) = name else { return Ok(None) };
        return Err(Failure::usage(format!(
            "cannot find profile {}: neither XDG_CONFIG_HOME nor HOME is set",
            printable(&name)
        )));
    };
    match read_file(&path) {
        Ok(text) => select(&path, &text, name),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => match name {
            None => Ok(None),
            Some(name) => {
                let name = printable(&name);
                Err(Failure::usage(format!(
                    "there is no profile {name}: {} does not exist; create it, with the table [profile.{name}]",
                    path.display()
                )))
            }
        },
        Err(error) => Err(Failure::failed(format!(
            "cannot read the profiles in {}: {error}; make the file readable UTF-8 text, or remove the file",
            path.display()
        ))),
    }
}

/// Maximum size of the file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads a file. A pipe or a device is an error, because reading it might not end.
fn read_file(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE.saturating_add(1)).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err(io::Error::other(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(text)
}

/// Returns the path of the file. As the XDG specification demands, a relative XDG_CONFIG_HOME is ignored.
fn path() -> Option<PathBuf> {
    let config = var("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| Some(PathBuf::from(var("HOME")?).join(".config")))?;
    Some(config.join("zeek-bridge").join("config.toml"))
}

fn select(path: &Path, text: &str, name: Option<String>) -> Result<Option<Layer>, Failure> {
    let mut file: File = toml::from_str(text).map_err(|error| {
        invalid(path, text, error.span(), &format!("{}; fix this line", error.message().replace('\n', ", ")))
    })?;
    let selected = name.as_deref().unwrap_or(DEFAULT);
    match (file.profile.remove(selected), &name) {
        (Some(profile), _) => profile.layer(path, text, selected).map(Some),
        (None, None) => Ok(None),
        (None, Some(name)) => Err(unknown(path, name, &file)),
    }
}

fn unknown(path: &Path, name: &str, file: &File) -> Failure {
    let names: Vec<&str> = file.profile.keys().map(String::as_str).collect();
    let closest = names.iter().map(|known| (strsim::damerau_levenshtein(known, name), *known)).min();
    let hint = match closest {
        None => format!("add the table [profile.{name}]"),
        Some((distance, closest)) if distance <= 2 => {
            format!("did you mean {closest}? the profiles are: {}", names.join(", "))
        }
        Some(_) => format!("use one of: {}", names.join(", ")),
    };
    Failure::usage(printable(&format!("{} has no profile {name}; {hint}", path.display())))
}

impl Profile {
    fn layer(self, path: &Path, text: &str, name: &str) -> Result<Layer, Failure> {
        let invalid = |key: &str, value: &Spanned<String>, reason: &str| {
            let message = format!("profile.{name}.{key}: {:?}: {reason}", value.get_ref());
            invalid(path, text, Some(value.span()), &message)
        };
        let connect = self.connect.map(|address| {
            connect_address(address.get_ref())
                .map_err(|error| invalid("connect", &address, &error.to_string()))
        });
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut tls = TlsArgs::default();
        for (option, value, is_path) in [
            ("tls", self.tls, false),
            ("cafile", self.cafile, true),
            ("capath", self.capath, true),
            ("certificate", self.certificate, true),
            ("keyfile", self.keyfile, true),
            ("passphrase-file", self.passphrase_file, true),
            ("verify-name", self.verify_name, false),
            ("tls-backend", self.tls_backend, false),
        ] {
            let Some(value) = value else { continue };
            let key = option.replace('-', "_");
            if value.get_ref().is_empty() {
                return Err(invalid(&key, &value, "it is empty; set it or remove it"));
            }
            let set = if is_path {
                folder.join(value.get_ref()).into_os_string()
            } else {
                value.get_ref().clone().into()
            };
            tls.set(option, set).map_err(|valid| invalid(&key, &value, &valid))?;
        }
        let mut curve = CurveArgs::default();
        for (option, value) in [
            (SERVER_KEY, self.curve_server_key),
            (PUBLIC_KEY, self.curve_public_key),
            (SECRET_KEY, self.curve_secret_key),
        ] {
            let Some(value) = value else { continue };
            if value.get_ref().is_empty() {
                return Err(invalid(&option.replace('-', "_"), &value, "it is empty; set it or remove it"));
            }
            // A public key may be the key itself.
            let file = folder.join(value.get_ref());
            let is_key =
                option != SECRET_KEY && !file.exists() && value.get_ref().parse::<PublicKey>().is_ok();
            curve.set(option, if is_key { value.get_ref().into() } else { file.into_os_string() });
        }
        let source = Source::Profile { name: printable(name), file: path.to_owned() };
        Ok(Layer { source, connect: connect.transpose()?, tls, curve })
    }
}

/// Reports an error in the file, with its line.
fn invalid(path: &Path, text: &str, span: Option<Range<usize>>, message: &str) -> Failure {
    let before = span.and_then(|span| text.get(..span.start));
    let line = before.map(|before| before.matches('\n').count().saturating_add(1));
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    Failure::usage(printable(&format!("{}{line}: {message}", path.display())))
}

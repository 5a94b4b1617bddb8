//! The files in `packaging/` match the program.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use regex::Regex;

use crate::program::child::{LIMIT, Running, skip};
use crate::program::{Program, command_of};

fn packaged(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)).unwrap()
}

#[test]
fn the_example_configuration_has_no_errors_and_no_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.toml");
    // Use a different status socket, because its directory may not exist on this machine.
    let socket = format!("status = \"{}\"", folder.path().join("status.sock").display());
    let config = packaged("bridge.toml").replace("#status = \"/run/zeek-bridge/status.sock\"", &socket);
    assert!(config.contains(&socket));
    fs::write(&path, config).unwrap();
    let end = Program::run(&format!("check {}", path.display()), "");
    assert_eq!((end.code, &*end.stderr), (Some(0), ""), "{end:?}");
}

#[test]
fn every_metric_in_the_dashboard_and_the_alerts_exists() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bridge.toml");
    let text = "[bridge]\nhttp = '127.0.0.1:0'\nstatus = 'off'\n[link.agents]\nfaces = 'agents'\n\
                listen = '127.0.0.1:0'\ntls = 'off'\n[link.nodes]\nfaces = 'nodes'\nlisten = '127.0.0.1:0'\ntls = 'off'\n";
    fs::write(&config, text).unwrap();
    let mut bridge = Program::start(&format!("run {}", config.display()));
    let line = bridge.says("metrics and health at http://");
    let (_, address) = line.split_once("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();

    let families = Regex::new("(?m)^# TYPE ([a-z_]+) ").unwrap();
    let families: Vec<_> = families.captures_iter(&metrics).map(|found| found[1].to_owned()).collect();
    assert!(families.len() > 10, "{metrics}");
    let names = Regex::new("zeek_bridge_[a-z_]+").unwrap();
    for file in ["grafana-dashboard.json", "alerts.yml"] {
        let content = packaged(file);
        let mut count = 0;
        for name in names.find_iter(&content).map(|found| found.as_str()) {
            let family = name.strip_suffix("_total").or(name.strip_suffix("_bucket")).unwrap_or(name);
            assert!(
                families.iter().any(|known| known == family),
                "{file}: there is no metric {name}: {families:?}"
            );
            count += 1;
        }
        assert!(count > 5, "{file}");
    }
}

#[test]
fn the_package_installs_the_manual_pages_of_every_section() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man");
    assert_eq!(Program::run(&format!("man --out {}", out.display()), "").code, Some(0));
    let manifest = include_str!("../../Cargo.toml");
    let script = packaged("deb");
    let mut sections = std::collections::BTreeSet::new();
    for page in fs::read_dir(&out).unwrap() {
        let path = page.unwrap().path();
        let section = path.extension().unwrap().to_str().unwrap().to_owned();
        let asset =
            format!("[\"target/package/man/*.{section}.gz\", \"usr/share/man/man{section}/\", \"644\"]");
        assert!(manifest.contains(&asset), "{asset}");
        sections.insert(section);
    }
    assert_eq!(sections.len(), 2, "{sections:?}");
    let all: String = sections.into_iter().collect();
    assert!(script.contains(&format!("gzip -9n \"$staged\"/man/*.[{all}]")), "{script}");
}

#[test]
fn systemd_accepts_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zeek-bridge.service");
    fs::write(&path, Program::run("run --print-unit", "").stdout.join("\n")).unwrap();
    if std::process::Command::new("systemd-analyze").arg("--version").output().is_err() {
        skip("systemd-analyze is not installed: the unit file is not verified");
        return;
    }
    let end = Running::spawn(command_of("systemd-analyze", ["verify", "--man=no"]).arg(&path)).output();
    let printed = String::from_utf8_lossy(&end.stderr).into_owned();
    // Ignore lines about the other units of this machine, which may have faults.
    let about: Vec<&str> = printed.lines().filter(|line| line.contains("zeek-bridge")).collect();
    assert!(about.is_empty(), "{printed}");
}

//! A client against a server.

use super::*;
use crate::peering::ErrorKind;

#[test]
fn a_handshake_passes_the_metadata_and_the_name_of_the_client() {
    let mut ends = established();
    assert_eq!(&*ends.name, "worker-1");
    assert_eq!(ends.client_metadata, CLIENT_METADATA);
    assert_eq!(ends.server_metadata, SERVER_METADATA);
    let flags = Flags { more: true, command: false };
    let sealed = ends.client.seal(flags, b"up").unwrap();
    assert_eq!(open(&mut ends.server, &sealed).unwrap(), (flags, Bytes::from_static(b"up")));
    let flags = Flags { more: false, command: true };
    let sealed = ends.server.seal(flags, b"down").unwrap();
    assert_eq!(open(&mut ends.client, &sealed).unwrap(), (flags, Bytes::from_static(b"down")));
}

#[test]
fn random_keys_complete_a_handshake_and_differ_in_each_connection() {
    let mut hellos = Vec::new();
    for _ in 0..2 {
        let mut server = Server::new(keys(SERVER), allowed(), Bytes::new());
        let (mut client, hello) = Client::start(*keys(SERVER).public(), keys(CLIENT), Bytes::new()).unwrap();
        let welcome = welcome_of(server.receive(&hello));
        let initiate = initiate_of(client.receive(&welcome));
        let Ok(ServerStep::Established { ready, metadata, .. }) = server.receive(&initiate) else { panic!() };
        assert!(matches!(client.receive(&ready), Ok(ClientStep::Established { .. })));
        assert!(metadata.is_empty());
        hellos.push((hello, welcome, initiate, ready));
    }
    let (one, two) = (&hellos[0], &hellos[1]);
    // The short-term keys.
    assert_ne!(one.0[80..112], two.0[80..112]);
    // The nonce and the box of WELCOME.
    assert_ne!(one.1[8..24], two.1[8..24]);
    assert_ne!(one.1[24..], two.1[24..]);
    // The cookie.
    assert_ne!(one.2[9..105], two.2[9..105]);
    assert_ne!(one.3[14..], two.3[14..]);
}

#[test]
fn commands_have_the_lengths_of_the_rfc() {
    let ((mut client, hello), mut server) = (client(), server());
    let welcome = welcome_of(server.receive(&hello));
    let initiate = initiate_of(client.receive(&welcome));
    assert_eq!((hello.len(), welcome.len()), (200, 168));
    assert_eq!(initiate.len(), 257 + CLIENT_METADATA.len());
    assert_eq!(initiated().ready.len(), 30 + SERVER_METADATA.len());
}

#[test]
fn a_client_that_is_not_allowed_receives_the_error_400() {
    let ((mut client, hello), mut server) = (client_with(SERVER, 9), server());
    let welcome = welcome_of(server.receive(&hello));
    let initiate = initiate_of(client.receive(&welcome));
    let Ok(ServerStep::Denied { error, key }) = server.receive(&initiate) else { panic!() };
    assert_eq!(key, *keys(9).public());
    assert_eq!(error, &b"\x05ERROR\x03400"[..]);
    let refused = client.receive(&error).unwrap_err();
    assert_eq!(refused, Error::Refused { key, reason: "400".into() });
    assert_eq!(
        refused.to_string(),
        format!(
            "the server refused the CURVE key {key}: 400; the server does not allow this key: add it to the client keys of \
             the server"
        )
    );
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(server.receive(&initiate).is_err() && client.receive(&error).is_err());
}

#[test]
fn a_server_names_its_key_if_the_client_has_another() {
    let (_, hello) = client_with(9, CLIENT);
    let error = server().receive(&hello).unwrap_err();
    let key = *keys(SERVER).public();
    assert_eq!(error, Error::WrongServerKey { key });
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains(&format!("a server key other than {key}")), "{error}");
}

#[test]
fn a_client_names_the_expected_key_if_the_server_has_another() {
    let ((_, hello), (mut client, _)) = (client(), client_with(9, CLIENT));
    let welcome = welcome_of(server().receive(&hello));
    let error = client.receive(&welcome).unwrap_err();
    let key = *keys(9).public();
    assert_eq!(error, Error::WrongServer { key });
    assert!(error.to_string().contains(&format!("a CURVE key other than {key}")), "{error}");
}

#[test]
fn an_error_is_accepted_in_place_of_welcome_and_of_ready() {
    let (mut before, _) = client();
    let mut after = initiated().client;
    for client in [&mut before, &mut after] {
        let error = client.receive(b"\x05ERROR\x0ba\nb\x1b[0m\xff\0zzxx").unwrap_err();
        let reason = "a\u{fffd}b\u{fffd}[0m\u{fffd}\u{fffd}zz".into();
        assert_eq!(error, Error::Refused { key: *keys(CLIENT).public(), reason });
    }
    for body in [&b"\x05ERROR"[..], b"\x05ERROR\x01", b"\x05ERROR\xff400"] {
        assert_eq!(
            client().0.receive(body).unwrap_err(),
            Error::Length { command: "ERROR", length: body.len() }
        );
    }
}

/// The keys of the example are those of these tests.
#[test]
fn the_worked_example_of_the_specification_is_this_handshake() {
    let ((mut client, hello), mut server) = (client(), server());
    let welcome = welcome_of(server.receive(&hello));
    let initiate = initiate_of(client.receive(&welcome));
    let Initiated { ready, .. } = initiated();
    let message = established().client.seal(Flags::default(), b"data").unwrap();
    let mut example = String::new();
    for command in [hello, welcome, initiate, ready, message] {
        for line in command.chunks(48) {
            let octets: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            example += &format!("{}\n", octets.join(" "));
        }
        example.push('\n');
    }
    let specification = include_str!("../../../PROTOCOL.md");
    let blocks = specification.split("```hex-curve\n").skip(1);
    let blocks: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    assert_eq!(blocks, [example.trim_end().to_owned() + "\n"], "the block must be:\n{example}");
    assert!(specification.contains("`05 45 52 52 4f 52 03 34 30 30`"), "the example of ERROR");
}

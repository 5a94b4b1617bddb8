//! Recordings of a libbroker endpoint and an endpoint of this crate, replayed to other endpoints.

use tokio::task::spawn_blocking;

use crate::driver::*;
use crate::program::{End, Program};
use crate::recorder::{Recorder, decoded, events};

async fn end(program: Program) -> End {
    spawn_blocking(|| program.end()).await.unwrap()
}

#[track_caller]
fn assert_no_difference(end: &End) {
    assert_eq!((end.code, end.stdout.len()), (Some(0), 1), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_can_be_replayed_to_another_libbroker_endpoint() {
    let program = reference_or_skip!();
    for kind in TlsSetup::both() {
        let [ours, theirs] = [kind.options(), kind.theirs().join(" ")];
        let theirs: Vec<&str> = theirs.split_whitespace().chain(["--subscribe", "/theirs"]).collect();
        let (mut reference, address) = LibbrokerProcess::listen(&program, &theirs).await;
        let mut recorder = Recorder::start(&address, &ours);
        let publish = format!("publish --topic /theirs --connect {} {ours}", recorder.address);
        let lines =
            "{\"event\": \"first\", \"args\": []}\n{\"@data-type\": \"string\", \"data\": \"text\"}\n";
        let published = spawn_blocking(move || Program::run(&publish, lines)).await.unwrap();
        assert_eq!(published.code, Some(0), "{published:?}");
        let [first, second] =
            [reference.line("message /theirs ").await, reference.line("message /theirs ").await];
        assert!(first.contains("first") && second == "text", "{first}, {second}");
        reference.send_line("quit").await;
        reference.wait_for_exit().await;
        let (recorder, folder) = spawn_blocking(move || {
            let folder = recorder.recording();
            (recorder, folder)
        })
        .await
        .unwrap();
        assert_eq!(events(&decoded(&folder, 0).1), [("connector", "first")]);

        // Replay our recorded endpoint to a new libbroker endpoint, and to one with different subscriptions.
        for (topic, code) in [("/theirs", 0), ("/th", 1)] {
            let theirs: Vec<&str> =
                theirs.iter().map(|argument| if *argument == "/theirs" { topic } else { argument }).collect();
            let (mut reference, address) = LibbrokerProcess::listen(&program, &theirs).await;
            let connector = Program::start(&format!(
                "replay {} --as connector --connect {address} {ours}",
                folder.display()
            ));
            assert_eq!(reference.line("message /theirs ").await, first);
            assert_eq!(reference.line("message /theirs ").await, second);
            let end = end(connector).await;
            assert_eq!((end.code, end.stdout.len()), (Some(code), 1 + 2 * code as usize), "{end:?}");
        }

        // Replay the recorded libbroker endpoint to a new `publish`.
        let mut listener =
            Program::start(&format!("replay {} --as listener --listen 127.0.0.1:0 {ours}", folder.display()));
        let publish = format!("publish --topic /theirs --connect {} {ours}", listener.address());
        let published = spawn_blocking(move || Program::run(&publish, lines)).await.unwrap();
        assert_eq!(published.code, Some(0), "{published:?}");
        assert_no_difference(&end(listener).await);
        drop(recorder);
    }
}

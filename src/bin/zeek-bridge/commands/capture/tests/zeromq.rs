//! Sessions of the ZeroMQ back end in packets.

use super::*;

/// Returns a captured connection of a cluster over ZeroMQ.
fn zeromq(number: &str) -> Truth {
    let folder = folder("zeromq/cluster");
    let index = fs::read_to_string(folder.join("frames.jsonl")).unwrap();
    let lines = index.lines().map(|line| parse_json(line.as_bytes()).unwrap());
    Truth {
        streams: SIDES.map(|side| fs::read(folder.join(format!("{number}-{side}.bin"))).unwrap()),
        lines: lines.filter(|line| line["connection"] == number).collect(),
    }
}

#[test]
fn zeromq_is_recognized_for_every_size_of_packets() {
    let truth = zeromq("01");
    let without_time = |collected: &Collected| -> Vec<String> {
        let lines = SIDES.iter().flat_map(|side| {
            collected.lines.iter().filter(move |line| line["from"] == *side).map(|line| {
                let mut line = line.clone();
                ["t_us", "index"].iter().for_each(|name| drop(line.as_object_mut().unwrap().remove(*name)));
                line.to_string()
            })
        });
        lines.collect()
    };
    let isn = [u32::MAX - 10, 8];
    let packets = |most: usize| [&syns(isn)[..], &pieces(&truth, isn, most)].concat();
    let (whole, _) = read(&packets(1448));
    assert!(whole.lines.len() > 20);
    for most in [1, 4, 5, 9, 10, 11, 1448] {
        let (collected, tally) = read(&packets(most));
        assert_eq!(tally, Tally { connections: 1, decoded: 1, ..Tally::default() }, "{most}");
        assert_eq!(collected.begun[0]["protocol"], "zeromq");
        assert_eq!(without_time(&collected), without_time(&whole), "{most}");
    }
    // A packet of the connector is missing: the rest of this side cannot be decoded.
    let mut segments = packets(1448);
    let sent: Vec<usize> = (0..segments.len()).filter(|index| segments[*index].from == at(0)).collect();
    segments.remove(sent[6]);
    let (collected, tally) = read(&segments);
    assert_eq!((tally.decoded, tally.errors), (1, 1));
    let errors: Vec<&Json> = collected.lines.iter().filter(|line| line.get("error").is_some()).collect();
    assert!(errors[0]["error"].as_str().unwrap().contains("bytes are missing"), "{errors:?}");
}

#[test]
fn a_part_of_a_greeting_is_not_decoded() {
    let segments = [&syns([7, 8])[..], &[seg(0, 8, b"\xff\0\0\0\0\0\0")]].concat();
    let (collected, tally) = read(&segments);
    assert_eq!((tally.decoded, collected.begun.len()), (0, 1));
    let note = collected.begun[0]["note"].as_str().unwrap();
    assert!(note.contains("one side sent only ff000000000000"), "{note}");
}

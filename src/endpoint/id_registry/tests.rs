//! Which connection has an endpoint id.

use super::*;

const PEER: EndpointId = EndpointId::from_bytes([7; 16]);

fn party(n: u8) -> Party {
    Party {
        owner: Owner::Host([192, 0, 2, n].into()),
        address: format!("192.0.2.{n}:1").into(),
        identity: None,
    }
}

type Outcome = (oneshot::Receiver<Admission>, oneshot::Receiver<()>);

fn introduce(ids: &mut IdRegistry, connection: u64, role: Role, n: u8) -> Outcome {
    let (admission, answer) = oneshot::channel();
    let (superseded, end) = oneshot::channel();
    ids.introduce(ConnectionId(connection), PEER, role, party(n), Answers { admission, superseded });
    (answer, end)
}

fn assert_empty(ids: &IdRegistry) {
    assert!(ids.known.is_empty() && ids.connections.is_empty(), "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn repeated_claims_of_one_id_use_one_entry() {
    let mut claims = Claims::default();
    for _ in 0..=MAX_CLAIMS {
        claims.insert(PEER, &party(1), Instant::now());
    }
    assert_eq!((claims.of.len(), claims.ends.len()), (1, 1));
    let other = EndpointId::from_bytes([8; 16]);
    claims.insert(other, &party(2), Instant::now());
    assert!(claims.of_other(other, &party(1).owner, Instant::now()).is_some());
    tokio::time::advance(CLAIM).await;
    claims.expire(Instant::now());
    assert!(claims.of.is_empty() && claims.ends.is_empty() && claims.per_owner.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_does_not_reserve_an_id() {
    for role in [Role::Originator, Role::Responder] {
        let mut ids = IdRegistry::default();
        let (mut half_open, _end) = introduce(&mut ids, 1, role, 1);
        assert_eq!(half_open.try_recv(), Ok(Admission::Admitted));
        let (mut owner, _end) = introduce(&mut ids, 2, role, 2);
        assert_eq!(owner.try_recv(), Ok(Admission::Admitted));
        assert_eq!(ids.establish(ConnectionId(2), PEER), Admission::Admitted);
        assert_eq!(ids.establish(ConnectionId(1), PEER), Admission::Conflict("192.0.2.2:1".into()));
        assert_eq!((ids.established(ConnectionId(1)), ids.established(ConnectionId(2))), (None, Some(PEER)));
        assert_eq!((ids.close(ConnectionId(1)), ids.close(ConnectionId(2))), (None, Some(PEER)));
        assert_empty(&ids);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_delays_another_one_of_its_owner_for_at_most_a_second() {
    let mut ids = IdRegistry::default();
    let (mut first, mut end) = introduce(&mut ids, 1, Role::Originator, 1);
    let (mut second, _end) = introduce(&mut ids, 2, Role::Originator, 1);
    let (mut third, _third_end) = introduce(&mut ids, 3, Role::Originator, 1);
    assert_eq!(first.try_recv(), Ok(Admission::Admitted));
    ids.supersede();
    assert!(second.try_recv().is_err() && end.try_recv().is_err());
    tokio::time::sleep_until(ids.next_due().unwrap()).await;
    ids.supersede();
    assert_eq!((end.try_recv(), second.try_recv()), (Ok(()), Ok(Admission::Admitted)));
    assert_eq!(ids.establish(ConnectionId(1), PEER), Admission::Redundant, "too late");
    assert!(third.try_recv().is_err());
    assert_eq!(ids.establish(ConnectionId(2), PEER), Admission::Admitted);
    assert_eq!(third.try_recv(), Ok(Admission::Redundant));
    assert_eq!(ids.close(ConnectionId(2)), Some(PEER));
    assert_empty(&ids);
}

#[tokio::test(start_paused = true)]
async fn connections_on_which_the_peer_is_the_originator_run_concurrently() {
    let mut ids = IdRegistry::default();
    let mut outcomes: Vec<_> =
        (1..=3).map(|connection| introduce(&mut ids, connection, Role::Responder, 1)).collect();
    assert!(outcomes.iter_mut().all(|(answer, _)| answer.try_recv() == Ok(Admission::Admitted)));
    assert_eq!(ids.establish(ConnectionId(3), PEER), Admission::Admitted);
    assert_eq!(ids.establish(ConnectionId(1), PEER), Admission::Redundant);
    let gone = ids.when_gone(PEER).unwrap();
    assert_eq!((ids.close(ConnectionId(2)), ids.close(ConnectionId(3))), (None, Some(PEER)));
    gone.await.unwrap();
    assert!(ids.when_gone(PEER).is_none());
    assert_empty(&ids);
}

#[tokio::test(start_paused = true)]
async fn an_id_belongs_to_its_owner_for_some_time() {
    let mut ids = IdRegistry::default();
    introduce(&mut ids, 1, Role::Originator, 1).0.await.unwrap();
    assert_eq!(ids.establish(ConnectionId(1), PEER), Admission::Admitted);
    let other = introduce(&mut ids, 2, Role::Originator, 2).0.await;
    assert_eq!(other, Ok(Admission::Conflict("192.0.2.1:1".into())));
    ids.close(ConnectionId(1));
    let other = introduce(&mut ids, 3, Role::Originator, 2).0.await;
    assert_eq!(other, Ok(Admission::Conflict("192.0.2.1:1".into())));
    assert_empty(&ids);
    let (mut owner, _end) = introduce(&mut ids, 4, Role::Originator, 1);
    assert_eq!(owner.try_recv(), Ok(Admission::Admitted));
    ids.close(ConnectionId(4));
    tokio::time::advance(CLAIM).await;
    let (mut other, _end) = introduce(&mut ids, 5, Role::Originator, 2);
    assert_eq!(other.try_recv(), Ok(Admission::Admitted));
    assert!(ids.claims.of.is_empty() && ids.claims.per_owner.is_empty() && ids.claims.ends.is_empty());
}

#[tokio::test(start_paused = true)]
async fn claims_are_bounded_for_each_owner_and_in_total() {
    let mut claims = Claims::default();
    let id = |n: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        EndpointId::from_bytes(bytes)
    };
    let now = Instant::now();
    (0..10_000).for_each(|n| claims.insert(id(n), &party(1), now));
    assert_eq!(claims.of.len(), MAX_CLAIMS_PER_OWNER);
    for (n, owner) in (10_000..20_000).zip((0..200).cycle()) {
        claims.insert(id(n), &party(owner), now);
    }
    assert_eq!((claims.of.len(), claims.ends.len()), (MAX_CLAIMS, MAX_CLAIMS));
    claims.expire(after(now, CLAIM));
    assert!(claims.of.is_empty() && claims.per_owner.is_empty() && claims.ends.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_peering_is_reported_while_another_handshake_runs() {
    let mut ids = IdRegistry::default();
    let _outcomes = [1, 2].map(|connection| introduce(&mut ids, connection, Role::Responder, 1));
    assert_eq!(ids.establish(ConnectionId(1), PEER), Admission::Admitted);
    let mut gone = ids.when_gone(PEER).unwrap();
    assert_eq!(ids.close(ConnectionId(1)), Some(PEER));
    assert_eq!(gone.try_recv(), Ok(()));
    let mut gone = ids.when_gone(PEER).unwrap();
    assert_eq!(ids.close(ConnectionId(2)), None);
    assert_eq!(gone.try_recv(), Ok(()), "the last handshake has ended");
    assert_empty(&ids);
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_held_together_are_admitted_one_after_the_other() {
    let mut ids = IdRegistry::default();
    let mut outcomes = [1, 2, 3].map(|connection| introduce(&mut ids, connection, Role::Originator, 1));
    for (admission, _) in &mut outcomes {
        while admission.try_recv() != Ok(Admission::Admitted) {
            tokio::time::sleep_until(ids.next_due().expect("a held connection")).await;
            ids.supersede();
        }
    }
    for ((_, superseded), expected) in outcomes.iter_mut().zip([true, true, false]) {
        assert_eq!(superseded.try_recv().is_ok(), expected);
    }
}

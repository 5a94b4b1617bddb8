use super::*;

/// The limits for all prefixes, for the prefixes of an owner and of a subscriber, and for unread changes.
const LIMITS: Limits = Limits {
    memory: accounts::Limits { subscriber: 20_000, owner: 50_000, total: 100_000 },
    unread_of_owner: 10_000,
    unread: 64 * 1024,
};

fn cluster() -> Arc<Cluster> {
    Cluster::with_limits(LIMITS)
}

fn owner(number: u8) -> Owner {
    Owner::Host([192, 0, 2, number].into())
}

fn topic(text: &str) -> Topic {
    Topic::from(text)
}

fn subscribed(text: &str) -> SubscriptionChange {
    SubscriptionChange::Subscribed(topic(text))
}

fn cancelled(text: &str) -> SubscriptionChange {
    SubscriptionChange::Cancelled(topic(text))
}

fn read(publisher: &mut Publisher) -> Vec<SubscriptionChange> {
    std::iter::from_fn(|| publisher.next().unwrap()).collect()
}

#[test]
fn subscriptions_are_repeated_and_cancelled_when_the_last_subscriber_is_gone() {
    let cluster = cluster();
    let (mut early, mut one, mut other) =
        (cluster.publisher(), cluster.subscriber(owner(1)), cluster.subscriber(owner(2)));
    one.apply([subscribed("a"), subscribed("a"), subscribed("b")]);
    other.apply([cancelled("a"), subscribed("a")]);
    assert_eq!(read(&mut early), [subscribed("a"), subscribed("a"), subscribed("b"), subscribed("a")]);
    let mut late = cluster.publisher();
    assert_eq!(read(&mut late), [subscribed("a"), subscribed("b")], "each prefix once");
    one.apply([cancelled("a"), cancelled("a"), cancelled("never")]);
    assert_eq!(read(&mut late), [], "another subscriber has it");
    drop(one);
    assert_eq!(read(&mut late), [cancelled("b")], "only the prefix that no other subscriber has");
    other.apply([cancelled("a")]);
    for publisher in [&mut early, &mut late] {
        assert_eq!(read(publisher).last(), Some(&cancelled("a")));
    }
    assert_eq!(read(&mut cluster.publisher()), []);
    assert!(cluster.state.lock().accounts.is_empty());
}

#[test]
fn the_current_subscriptions_are_read_before_later_changes() {
    let cluster = cluster();
    let mut subscriber = cluster.subscriber(owner(1));
    subscriber.apply([subscribed("b"), subscribed("c")]);
    let mut publisher = cluster.publisher();
    subscriber.apply([cancelled("c"), subscribed("a")]);
    assert_eq!(read(&mut publisher), [subscribed("b"), subscribed("c"), cancelled("c"), subscribed("a")]);
}

#[test]
fn a_publisher_that_does_not_read_is_removed_and_the_others_read_everything() {
    let cluster = cluster();
    let (mut slow, mut fast, mut subscriber) =
        (cluster.publisher(), cluster.publisher(), cluster.subscriber(owner(1)));
    let changes = LIMITS.unread / log::OVERHEAD;
    for round in 0..changes {
        subscriber.apply([subscribed(""), cancelled("")]);
        assert_eq!(read(&mut fast), [subscribed(""), cancelled("")], "{round}");
        let state = cluster.state.lock();
        assert!(state.log.bytes <= LIMITS.unread);
        assert_eq!(state.log.readers.len(), if 2 * (round + 1) > changes { 1 } else { 2 });
    }
    assert_eq!(slow.check(), Err(Unread { limit: LIMITS.unread }));
    assert_eq!(slow.next(), Err(Unread { limit: LIMITS.unread }));
    assert_eq!(fast.check(), Ok(()));
    drop(slow);
    subscriber.apply([subscribed("")]);
    assert_eq!(read(&mut fast), [subscribed("")]);
    assert!(cluster.state.lock().log.bytes <= 2 * log::MIN_LOG, "read changes are not kept");
}

#[test]
fn an_owner_is_too_fast_until_the_publishers_have_read_its_changes() {
    let cluster = cluster();
    let (mut slow, mut fast) = (cluster.publisher(), cluster.publisher());
    let (mut one, of_same_owner, other) =
        (cluster.subscriber(owner(1)), cluster.subscriber(owner(1)), cluster.subscriber(owner(2)));
    for _ in 0..LIMITS.unread_of_owner / log::OVERHEAD / 2 {
        assert!(!one.is_too_fast());
        one.apply([subscribed(""), cancelled("")]);
    }
    one.apply([subscribed("")]);
    assert!(one.is_too_fast() && of_same_owner.is_too_fast());
    assert!(!other.is_too_fast(), "another owner does not wait");
    read(&mut fast);
    assert!(one.is_too_fast(), "the other publisher has not read them");
    slow.next().unwrap();
    assert!(!one.is_too_fast() && !of_same_owner.is_too_fast());
}

#[tokio::test]
async fn a_publisher_that_has_stalled_is_removed() {
    let cluster = cluster();
    let (mut stalled, mut reading, mut subscriber) =
        (cluster.publisher(), cluster.publisher(), cluster.subscriber(owner(1)));
    subscriber.apply([subscribed("a"), subscribed("b")]);
    let position = subscriber.position();
    subscriber.apply([subscribed("c")]);
    reading.next().unwrap();
    reading.next().unwrap();
    assert_eq!((stalled.check(), reading.check()), (Ok(()), Ok(())));
    subscriber.remove_stalled(position);
    stalled.changed().await;
    assert_eq!(stalled.check(), Err(Unread { limit: LIMITS.unread }));
    assert_eq!(reading.check(), Ok(()), "it has read the changes before the position");
    assert_eq!(read(&mut reading), [subscribed("c")]);
}

/// Returns this many different subscriptions, each of which needs `MEMORY` bytes.
fn prefixes(of: &str, count: usize) -> Vec<SubscriptionChange> {
    (0..count).map(|number| subscribed(&format!("{of}{number:>05}"))).collect()
}

const MEMORY: usize = OVERHEAD + 2 * 6;

#[test]
fn a_subscriber_is_limited_by_its_own_prefixes() {
    let cluster = cluster();
    let most = LIMITS.memory.subscriber / MEMORY;
    let (mut one, mut other) = (cluster.subscriber(owner(1)), cluster.subscriber(owner(2)));
    one.apply(prefixes("a", most));
    one.apply(prefixes("a", most));
    other.apply(prefixes("a", most));
    assert_eq!((one.check(), other.check()), (Ok(()), Ok(())), "repeated prefixes count once");
    one.apply([cancelled("a00000"), subscribed("a00000")]);
    assert_eq!(one.check(), Ok(()));
    one.apply([subscribed("b00000")]);
    let limit = LIMITS.memory.subscriber;
    assert_eq!(one.check(), Err(TooLong { limit, subject: "this subscriber" }));
    assert_eq!(other.check(), Ok(()));
    drop((one, other));
    assert!(cluster.state.lock().accounts.is_empty());
}

#[tokio::test]
async fn the_largest_subscriber_of_an_owner_is_refused() {
    let cluster = cluster();
    let most = LIMITS.memory.owner / MEMORY;
    let mut large: Vec<_> = (0..4).map(|_| cluster.subscriber(owner(1))).collect();
    let [mut small, mut other] = [1, 2].map(|number| cluster.subscriber(owner(number)));
    for (number, subscriber) in large.iter_mut().enumerate() {
        // Prefixes that others have count as well.
        subscriber.apply(prefixes("a", most / 4 - 1 + usize::from(number == 2)));
    }
    other.apply(prefixes("o", most / 4));
    small.apply(prefixes("s", 10));
    assert_eq!((small.check(), other.check()), (Ok(()), Ok(())), "smaller subscribers are not refused");
    large[2].refused().await;
    let limit = LIMITS.memory.owner;
    let error = TooLong { limit, subject: "all subscribers with this identity or on this host" };
    let refused: Vec<_> = large.iter().map(|subscriber| subscriber.check().err()).collect();
    assert_eq!(refused, [None, None, Some(error), None]);
    // The changes of a subscriber that is refused have no effect.
    let mut publisher = cluster.publisher();
    read(&mut publisher);
    large[2].apply([subscribed("x")]);
    assert_eq!(read(&mut publisher), []);
}

#[test]
fn the_owner_with_the_most_prefixes_loses_a_subscriber() {
    let cluster = cluster();
    let most = LIMITS.memory.total / MEMORY;
    let mut early = cluster.subscriber(owner(9));
    early.apply(prefixes("e", 10));
    // The first owner has twice as many as the two others.
    let mut attackers: Vec<_> = [1, 1, 2, 3].map(|number| cluster.subscriber(owner(number))).into();
    for subscriber in &mut attackers {
        subscriber.apply(prefixes("a", most / 5));
    }
    let mut late = cluster.subscriber(owner(8));
    late.apply(prefixes("l", most / 5 - 5));
    early.apply(prefixes("f", 10));
    assert_eq!((early.check(), late.check()), (Ok(()), Ok(())));
    let error = TooLong { limit: LIMITS.memory.total, subject: "all subscribers" };
    let refused: Vec<_> = attackers.iter().map(|subscriber| subscriber.check()).collect();
    assert_eq!(refused.iter().filter(|check| **check == Err(error)).count(), 1, "{refused:?}");
    assert_eq!((refused[2], refused[3]), (Ok(()), Ok(())));
}

#[tokio::test]
async fn the_filter_of_the_endpoint_is_one_of_the_subscribers() {
    let cluster = cluster();
    let filter = |topics: &[&str]| -> Filter { topics.iter().map(|text| topic(text)).collect() };
    let (own, receiver) = watch::channel(filter(&["a", "b"]));
    let mut subscriber = cluster.subscriber(owner(1));
    subscriber.apply([subscribed("b")]);
    cluster.follow(|| receiver);
    cluster.follow(|| panic!("called twice"));
    let mut publisher = cluster.publisher();
    assert_eq!(read(&mut publisher), [subscribed("a"), subscribed("b")]);
    own.send_replace(filter(&["c"]));
    publisher.changed().await;
    assert_eq!(read(&mut publisher), [subscribed("c"), cancelled("a")]);
    drop(own);
    publisher.changed().await;
    assert_eq!(read(&mut publisher), [cancelled("c")]);
}

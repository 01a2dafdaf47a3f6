//! Members of every dialect meet in one room: each hears the same publications in the same order, whoever publishes them
//! and however.
#![allow(clippy::unwrap_used)]

mod support;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use fanfare_engine::api::{Payload, Publish, Published, Reached};
use fanfare_engine::{Engine, EngineConfig, Limits, Namespaces, RoomOptions};
use fanfare_wire::native;
use support::{
    Client, DIALECTS, Dialect, Frame, Frames, Kind, Member, Poller, Sdk, Transport, View, ask,
    brisk, content, eventually, open_config, open_rooms, protobuf_publish, publish,
    service_content, start_scripted, stop, total,
};

const ROOM: &str = "inter";

/// Publications besides the last one, after which nothing may come.
const PUBLICATIONS: usize = 10_000;

/// Publications that may be ahead of what any member has heard.
const WINDOW: usize = 512;

fn config(shards: u16) -> EngineConfig {
    EngineConfig {
        compression: true,
        limits: Limits {
            // Nobody is silent for long.
            ping_interval: Duration::from_secs(600),
            ..brisk()
        },
        namespaces: Namespaces {
            default: RoomOptions {
                delta: true,
                // Nobody is so slow that it would be dealt with: a window of the longest, which are below 32 KiB.
                lane_bytes_max: 16 << 20,
                ..open_rooms()
            },
            named: Vec::new(),
        },
        ..open_config(shards)
    }
}

#[test]
fn all_hear_the_same_in_the_same_order() {
    everyone_hears_everything(1);
}

#[test]
fn all_hear_the_same_in_the_same_order_on_several_shards() {
    everyone_hears_everything(2);
}

fn everyone_hears_everything(shards: u16) {
    let engine = start_scripted(config(shards));
    let mut seated = seat(&engine, usize::from(shards));
    let mut observer = Client::connect(engine.client_addrs()[0], "");
    observer.join(ROOM);
    let mut reach = reached(&seated);
    reach.native += 1;
    let members = u64::from(reach.total());
    assert_eq!(total(&engine, |it| it.members), members);

    let count = PUBLICATIONS + 1;
    let names = seated.iter().map(|it| it.dialect.name);
    let stage = Stage {
        engine: &engine,
        reach,
        pace: Pace::new(names.collect()),
        placed: Mutex::default(),
        unplaced: Mutex::default(),
    };
    let (order, heard) = thread::scope(|scope| {
        let stage = &stage;
        let observer = scope.spawn(move || observe(observer, count));
        let listen = |(number, member): (usize, _)| {
            scope.spawn(move || listen(member, number, count, stage))
        };
        let listeners: Vec<_> = seated.iter_mut().enumerate().map(listen).collect();
        let mut publishers = vec![
            scope.spawn(move || stage.one_by_one(1, 0..1000)),
            scope.spawn(move || stage.one_by_one(2, 0..1000)),
            scope.spawn(move || stage.many(3, 0..1600)),
            scope.spawn(move || stage.together(4, 0..2400)),
            scope.spawn(move || stage.by_native_client(5, 0..500)),
            scope.spawn(move || stage.by_native_websocket(6, 0..500)),
            scope.spawn(move || stage.by_poller(7, 0..500)),
        ];
        for (transport, publisher) in Transport::BOTH_WAYS.into_iter().zip(8..) {
            publishers.push(scope.spawn(move || stage.by_sdk(transport, publisher, 0..500)));
        }
        for publisher in publishers {
            publisher.join().unwrap();
        }
        stage.one_by_one(20, 0..1);
        let heard: Vec<Vec<u64>> = listeners.into_iter().map(|it| it.join().unwrap()).collect();
        (observer.join().unwrap(), heard)
    });
    check_order(&order, stage.placed, stage.unplaced);
    for (member, heard) in seated.iter().zip(&heard) {
        check_heard(member.dialect, heard, &order);
    }
    assert_eq!(total(&engine, |it| it.publications), count as u64);
    // To them, and to the observer.
    let members = seated.len() + 1;
    let deliveries = (count * members) as u64;
    assert_eq!(total(&engine, |it| it.deliveries), deliveries);
    assert_eq!(
        total(&engine, |it| it.slow_disconnected + it.slow_skipped),
        0
    );
    assert_eq!(
        total(&engine, |it| it.protocol_errors + it.client_errors),
        0
    );
    stop(engine);
}

// -- who is in the room

struct Seated {
    dialect: &'static Dialect,
    member: Box<dyn Member>,
}

/// A member of each dialect on each shard.
fn seat(engine: &Engine, shards: usize) -> Vec<Seated> {
    let members_of = || -> Vec<u64> {
        let shards = engine.handle().counters();
        shards.iter().map(|shard| shard.members).collect()
    };
    let mut seated = Vec::new();
    for dialect in &DIALECTS {
        let mut is_taken = vec![false; shards];
        for attempt in 0.. {
            assert!(attempt < 500, "{}: not on all shards", dialect.name);
            let before = members_of();
            // The kernel chooses the shard.
            let member = (dialect.join)(engine.client_addrs()[0], ROOM);
            eventually("it is a member", || members_of() != before);
            let after = members_of();
            let shard = (0..shards).find(|&at| after[at] > before[at]).unwrap();
            if std::mem::replace(&mut is_taken[shard], true) {
                member.leave();
                eventually("it has left", || members_of() == before);
                continue;
            }
            seated.push(Seated { dialect, member });
            if is_taken.iter().all(|it| *it) {
                break;
            }
        }
    }
    seated
}

fn reached(seated: &[Seated]) -> Reached {
    let mut reached = Reached::default();
    for member in seated {
        *(member.dialect.count)(&mut reached) += 1;
    }
    reached
}

// -- who publishes

struct Stage<'a> {
    engine: &'a Engine,
    /// Whom each publication reaches.
    reach: Reached,
    pace: Pace,
    /// Publications with the offsets that their answers name.
    placed: Mutex<Vec<(u64, Vec<u8>)>>,
    /// Those of whose answers name none: of each publisher, in its order.
    unplaced: Mutex<Vec<Vec<Vec<u8>>>>,
}

impl Stage<'_> {
    fn published(&self, published: Published, content: Vec<u8>) {
        assert_eq!(published.reached, self.reach);
        self.placed_at(published.position.offset, content);
    }

    fn placed_at(&self, offset: u64, content: Vec<u8>) {
        self.placed.lock().unwrap().push((offset, content));
    }

    fn unplaced(&self, mut contents: Vec<Vec<u8>>, are_json: bool) {
        if are_json {
            // Commands in JSON are on one line from the moment they are read.
            contents = contents.iter().map(|it| View::Json.of(it)).collect();
        }
        self.unplaced.lock().unwrap().push(contents);
    }

    /// A service, the next when the one before is answered.
    fn one_by_one(&self, publisher: usize, numbers: Range<usize>) {
        for number in numbers {
            self.pace.begin(1);
            let content = service_content(publisher, number);
            let publication = by_service(&content, number);
            let answer = ask(|reply| self.engine.handle().publish(publication, reply));
            self.published(answer.unwrap(), content);
        }
    }

    /// A service, many at a time, each a request.
    fn many(&self, publisher: usize, numbers: Range<usize>) {
        for burst in bursts(numbers, 50) {
            self.pace.begin(burst.len());
            let (sender, receiver) = channel::<Published>();
            for number in burst.clone() {
                let sender = sender.clone();
                let publication = by_service(&service_content(publisher, number), number);
                let reply = move |answer: Result<_, _>| sender.send(answer.unwrap()).unwrap();
                self.engine.handle().publish(publication, Box::new(reply));
            }
            for number in burst {
                let published = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
                self.published(published, service_content(publisher, number));
            }
        }
    }

    /// A service, many in one request.
    fn together(&self, publisher: usize, numbers: Range<usize>) {
        for burst in bursts(numbers, 100) {
            self.pace.begin(burst.len());
            let contents = burst.clone().map(|it| service_content(publisher, it));
            let contents: Vec<Vec<u8>> = contents.collect();
            let publications = contents.iter().zip(burst);
            let publications = publications.map(|(content, number)| by_service(content, number));
            let publications = publications.collect();
            let answers = ask(|reply| self.engine.handle().publish_all(publications, reply));
            for (answer, content) in answers.unwrap().into_iter().zip(contents) {
                self.published(answer.unwrap(), content);
            }
        }
    }

    fn by_native_client(&self, publisher: usize, numbers: Range<usize>) {
        let mut client = Client::connect(self.engine.client_addrs()[0], "");
        let publish =
            |client: &mut Client, request, data: &[u8]| client.publish(request, ROOM, data);
        self.by_native(publisher, numbers, &mut client, publish, Client::next);
    }

    fn by_native_websocket(&self, publisher: usize, numbers: Range<usize>) {
        let mut client = Frames::connect(self.engine.client_addrs()[0], "");
        let publish = |client: &mut Frames, request, data: &[u8]| {
            let message = native::Publish {
                request,
                room: ROOM,
                data,
            };
            client.send(|out| native::write_publish(out, &message));
        };
        self.by_native(publisher, numbers, &mut client, publish, Frames::next);
    }

    fn by_native<C>(
        &self,
        publisher: usize,
        numbers: Range<usize>,
        client: &mut C,
        publish: fn(&mut C, u32, &[u8]),
        next: fn(&mut C) -> Frame,
    ) {
        for burst in bursts(numbers, 10) {
            self.pace.begin(burst.len());
            let contents = burst.map(|it| content(publisher, it, &Kind::ALL));
            let contents: Vec<Vec<u8>> = contents.collect();
            for (request, data) in (1..).zip(&contents) {
                publish(client, request, data);
            }
            for (expected, content) in (1..).zip(contents) {
                match next(client) {
                    Frame::Ack {
                        request, offset, ..
                    } if request == expected => self.placed_at(offset, content),
                    other => panic!("not an answer to {expected}: {other:?}"),
                }
            }
        }
    }

    fn by_sdk(&self, transport: Transport, publisher: usize, numbers: Range<usize>) {
        let mut client = Sdk::connect(self.engine.client_addrs()[0], transport, "");
        let kinds: &[Kind] = if transport.is_protobuf() {
            &Kind::ALL
        } else {
            &Kind::JSON
        };
        let contents = numbers.map(|it| content(publisher, it, kinds));
        let contents: Vec<Vec<u8>> = contents.collect();
        for burst in bursts(0..contents.len(), 10) {
            self.pace.begin(burst.len());
            let commands = burst.clone().map(|at| {
                if transport.is_protobuf() {
                    return protobuf_publish(id(at), ROOM, &contents[at]);
                }
                json_publish(id(at), &contents[at]).into_bytes()
            });
            let commands: Vec<Vec<u8>> = commands.collect();
            let between: &[u8] = if transport.is_protobuf() { b"" } else { b"\n" };
            client.send_message(&commands.join(between));
            for at in burst {
                let reply = client.reply(id(at));
                assert!(reply["publish"].is_object(), "{transport:?}: {reply}");
            }
        }
        self.unplaced(contents, !transport.is_protobuf());
    }

    fn by_poller(&self, publisher: usize, numbers: Range<usize>) {
        let poller = Poller::connect(self.engine.client_addrs()[0]);
        let contents = numbers.map(|it| content(publisher, it, &Kind::JSON));
        let contents: Vec<Vec<u8>> = contents.collect();
        for burst in bursts(0..contents.len(), 10) {
            self.pace.begin(burst.len());
            let commands = burst.clone().map(|at| json_publish(id(at), &contents[at]));
            poller.send(&commands.collect::<Vec<String>>().join("\n"));
            let mut replies = Vec::new();
            while replies.len() < burst.len() {
                replies.extend(poller.receive());
            }
            for (at, reply) in burst.zip(&replies) {
                assert_eq!(reply["id"], id(at), "{reply}");
                assert!(reply["publish"].is_object(), "{reply}");
            }
        }
        self.unplaced(contents, true);
    }
}

fn by_service(content: &[u8], number: usize) -> Publish {
    let payload = Payload {
        bytes: content.to_vec().into(),
        // Some services say that it is JSON which can be passed on as it is, others leave it open.
        is_json: number.is_multiple_of(2) && View::Json.of(content) == content,
    };
    Publish {
        payload,
        ..publish(ROOM, "")
    }
}

/// The id of a client's publication; that of its wish to connect is 1.
const fn id(at: usize) -> u64 {
    at as u64 + 2
}

/// The command to publish this JSON as it is written.
fn json_publish(id: u64, data: &[u8]) -> String {
    let data = str::from_utf8(data).unwrap();
    format!(r#"{{"id":{id},"publish":{{"channel":"{ROOM}","data":{data}}}}}"#)
}

fn bursts(numbers: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = numbers.end;
    numbers.step_by(size).map(move |at| at..end.min(at + size))
}

/// Lets publishers begin as members hear.
struct Pace {
    begun: Mutex<usize>,
    /// The name of each member, and how many publications it has heard.
    heard: Vec<(&'static str, AtomicUsize)>,
}

impl Pace {
    fn new(names: Vec<&'static str>) -> Self {
        let heard = names.into_iter().map(|name| (name, AtomicUsize::new(0)));
        Self {
            begun: Mutex::new(0),
            heard: heard.collect(),
        }
    }

    /// Waits until so many more may be published.
    fn begin(&self, count: usize) {
        let mut begun = self.begun.lock().unwrap();
        *begun += count;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let counts = self.heard.iter().map(|(name, it)| (it.load(Relaxed), name));
            let (heard, slowest) = counts.min().unwrap();
            if *begun <= heard + WINDOW {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{slowest} has heard {heard} of {begun}"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn hears(&self, member: usize) {
        self.heard[member].1.fetch_add(1, Relaxed);
    }
}

// -- what is heard

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// Hears so many publications, and returns the digest of each.
fn listen(seated: &mut Seated, number: usize, count: usize, stage: &Stage<'_>) -> Vec<u64> {
    let hear = |_| {
        let payload = seated.member.hear();
        stage.pace.hears(number);
        digest(&payload)
    };
    (0..count).map(hear).collect()
}

/// What one hears who is told offsets, too, and who hears bytes.
fn observe(mut observer: Client, count: usize) -> Vec<Vec<u8>> {
    let hear = |number: usize| {
        let (offset, data) = observer.publication();
        assert_eq!(offset, number as u64 + 1);
        data
    };
    (0..count).map(hear).collect()
}

/// All that was published is there once, each where its answer says, and what one client published in its order.
fn check_order(
    order: &[Vec<u8>],
    placed: Mutex<Vec<(u64, Vec<u8>)>>,
    unplaced: Mutex<Vec<Vec<Vec<u8>>>>,
) {
    let mut of_others: Vec<Option<&Vec<u8>>> = order.iter().map(Some).collect();
    for (offset, content) in placed.into_inner().unwrap() {
        let at = usize::try_from(offset).unwrap() - 1;
        assert!(of_others[at].take() == Some(&content), "at {offset}");
    }
    let publishers = unplaced.into_inner().unwrap();
    let mut publishers: Vec<_> = publishers.iter().map(|it| it.iter().peekable()).collect();
    for content in of_others.into_iter().flatten() {
        let is_next = |of: &mut std::iter::Peekable<_>| of.next_if_eq(&content).is_some();
        assert!(publishers.iter_mut().any(is_next), "{}", text(content));
    }
    assert!(publishers.iter_mut().all(|it| it.next().is_none()));
}

/// It is what everyone heard, as this dialect has it.
fn check_heard(dialect: &Dialect, heard: &[u64], order: &[Vec<u8>]) {
    let expected: Vec<u64> = order
        .iter()
        .map(|content| digest(&dialect.view.of(content)))
        .collect();
    let Some(at) = (0..order.len()).find(|&at| heard[at] != expected[at]) else {
        return;
    };
    let instead = expected.iter().position(|it| *it == heard[at]);
    let name = dialect.name;
    let content = text(&order[at]);
    panic!("{name}: instead of {content}, the one at {at}, it heard the one at {instead:?}");
}

fn text(content: &[u8]) -> String {
    let content = &content[..content.len().min(300)];
    content.escape_ascii().to_string()
}

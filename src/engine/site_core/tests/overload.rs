//! Meters at nodes: who is lowered when more is drawn than a fuse bears, and when no longer.

use super::*;
use crate::domain::alarm::{AlarmKind, Subject};
use crate::domain::overload::NodeReading;
use crate::engine::image::SiteImage;
use proptest::prelude::*;

impl Bench {
    /// The meter at the fuse of 64 A reads so much in L1, and nothing elsewhere.
    fn fuse_carries(&mut self, amps: i64) {
        self.fuse_carries_each([amps, 0, 0]);
    }

    fn fuse_carries_each(&mut self, amps: [i64; 3]) {
        let reading = NodeReading {
            node: node(),
            at: self.now,
            currents: Some(amps.map(|amps| DeciAmps::from_deciamps(amps * 10))),
            power: None,
        };
        let question = Question::Meter(Readings::OfNodes(vec![reading]));
        self.take(Input::Asked(vec![Ask {
            caller: Caller(0),
            question,
        }]));
    }

    /// The same every ten seconds for so long.
    fn fuse_carries_for(&mut self, seconds: i64, amps: i64) {
        for _ in 0..seconds / 10 {
            self.pass(10);
            self.fuse_carries(amps);
            self.find_all();
        }
    }

    fn overloads(&self) -> Vec<&Alarm> {
        let of_kind = |alarm: &&Alarm| alarm.kind == AlarmKind::OverloadMeasured;
        self.alarms.iter().filter(of_kind).collect()
    }

    fn available(&self) -> Option<DeciAmps> {
        self.core.state().available(self.now)[0].at(self.now).line[0]
    }

    /// A process that starts now, from an image taken now and from the whole journal.
    fn started_anew(&self) -> [SiteState; 2] {
        let state = self.core.state();
        let image: SiteImage = state.image().expect("nothing is held for an EVSE that is gone");
        let mut from_journal = SiteState::empty(state.key().clone());
        for entry in &self.journal {
            from_journal.apply(entry);
        }
        [SiteState::from_image(state.key().clone(), image), from_journal]
    }
}

#[test]
fn a_blip_lowers_nobody() {
    let mut bench = Bench::with_two_cars();
    bench.fuse_carries(60);
    bench.fuse_carries_for(30, 90);
    bench.fuse_carries_for(120, 60);
    assert_eq!(bench.ceilings(), [320, 320]);
    assert!(bench.overloads().is_empty(), "{:?}", bench.alarms);
}

#[test]
fn an_overload_that_lasts_lowers_everyone_until_the_meter_has_been_below_for_a_while() {
    let mut bench = Bench::with_two_cars();
    bench.fuse_carries(60);
    // 1.41 ×, borne for a minute; decreases take 15 s.
    bench.fuse_carries_for(40, 90);
    assert_eq!(bench.ceilings(), [320, 320]);
    bench.diary.clear();
    bench.pass(5);
    assert_eq!(bench.ceilings(), [0, 0], "by time alone, no later reading had to come");
    assert_eq!(bench.diary[..3], ["append", "send", "send"], "the greedy plan, at once");
    bench.accept_all();
    bench.pass(2);
    let [alarm] = bench.overloads()[..] else {
        panic!("one alarm: {:?}", bench.alarms)
    };
    assert_eq!(alarm.subject, Subject::Node(node()));
    assert_eq!(alarm.what, "L1 carried 900 dA of 640 dA");
    assert_eq!(alarm.evses, [evse_id(1), evse_id(2)]);
    // Five minutes below, seen without a gap; the cars have nothing meanwhile.
    bench.fuse_carries_for(300, 58);
    assert_eq!(bench.ceilings(), [0, 0]);
    bench.fuse_carries_for(10, 58);
    bench.accept_all();
    bench.find_all();
    assert_eq!(bench.ceilings(), [320, 320]);
    bench.pass(70);
    assert!(!bench.overloads()[0].is_active());
    // It comes back at once: now it takes ten minutes.
    bench.fuse_carries_for(10, 90);
    assert_eq!(bench.ceilings(), [0, 0]);
    bench.accept_all();
    bench.fuse_carries_for(590, 58);
    assert_eq!(bench.ceilings(), [0, 0]);
    bench.fuse_carries_for(20, 58);
    assert_eq!(bench.ceilings(), [320, 320]);
}

#[test]
fn an_overload_lowers_while_a_search_is_under_way() {
    let mut bench = Bench::with_two_cars();
    bench.submit(car_wants_more());
    assert!(bench.job.is_some());
    bench.fuse_carries(200);
    assert_eq!(bench.ceilings(), [0, 0]);
    let mut bench = Bench::with_two_cars();
    bench.fuse_carries(90);
    bench.submit(car_wants_more());
    bench.now = bench.now + Seconds::from_secs(45);
    assert!(bench.job.is_some() && bench.core.next_wake() <= bench.now);
    bench.take(Input::Woke);
    assert_eq!(bench.ceilings(), [0, 0]);
}

#[test]
fn only_what_is_too_much_is_lowered() {
    let mut spec = site();
    spec.stations[1].evses[0].connectors[0].wiring = Wiring::Star(vec![Phase::L2]);
    spec.stations[0].evses[0].connectors[0].default = Some(Rate::new(60));
    let mut bench = Bench::with_two_cars();
    bench.submit(Event::SitePut(Box::new(spec)));
    bench.find_all();
    bench.fuse_carries_each([200, 20, 20]);
    bench.find_all();
    assert_eq!(bench.ceilings(), [60, 320], "the other car draws on another line");
    assert_eq!(
        bench.available(),
        Some(DeciAmps::from_deciamps(60)),
        "its default cannot be shed"
    );
    bench.accept_all();
    bench.pass(40);
    let kinds: Vec<AlarmKind> = bench.alarms.iter().map(|alarm| alarm.kind).collect();
    assert_eq!(
        kinds,
        [AlarmKind::OverloadMeasured],
        "what is left is what cannot be shed"
    );
}

#[test]
fn readings_that_are_old_backwards_or_from_a_clock_ahead_are_taken_for_what_they_are() {
    let mut bench = Bench::with_two_cars();
    let reading = |at: Instant, amps: i64| NodeReading {
        node: node(),
        at,
        currents: Some([DeciAmps::from_deciamps(amps * 10); 3]),
        power: None,
    };
    let report = |bench: &mut Bench, after: i64, amps: i64| {
        let reading = reading(bench.now + Seconds::from_secs(after), amps);
        let before = bench.journal.len();
        let question = Question::Meter(Readings::OfNodes(vec![reading]));
        let ask = Ask {
            caller: Caller(0),
            question,
        };
        bench.take(Input::Asked(vec![ask]));
        let metered = |entry: &&Recorded| matches!(entry.event, Event::NodesMetered(_));
        bench.journal[before..].iter().filter(metered).count()
    };
    assert_eq!(report(&mut bench, 200, 60), 1, "its clock is ahead: it is of now");
    assert_eq!(report(&mut bench, -1, 500), 0, "backwards");
    assert_eq!(report(&mut bench, 0, 500), 0, "the same second");
    assert_eq!(report(&mut bench, 400, 500), 0, "too far ahead: refused");
    bench.pass(300);
    // Of four minutes ago: an overload that nobody knew of, and that counts from then on.
    assert_eq!(report(&mut bench, -240, 90), 1);
    assert_eq!(bench.ceilings(), [0, 0]);
}

#[test]
fn a_meter_that_falls_silent_is_told_where_one_is_described() {
    let mut spec = site();
    spec.nodes[0].meter.is_there = true;
    let mut bench = Bench::with_two_cars();
    bench.fuse_carries(60);
    bench.pass(400);
    assert!(bench.alarms.is_empty(), "read once by hand: {:?}", bench.alarms);
    bench.submit(Event::SitePut(Box::new(spec)));
    bench.fuse_carries_for(300, 60);
    let silent = |bench: &Bench| {
        bench
            .alarms
            .iter()
            .filter(|alarm| alarm.kind == AlarmKind::NodeMeterSilent && alarm.is_active())
            .count()
    };
    assert_eq!(silent(&bench), 0);
    bench.pass(299);
    assert_eq!(silent(&bench), 0);
    bench.pass(2);
    assert_eq!(silent(&bench), 1);
    assert_eq!(bench.ceilings(), [320, 320], "limits do not rest on it");
    bench.fuse_carries(60);
    bench.pass(62);
    assert_eq!(silent(&bench), 0);
}

#[test]
fn a_start_finds_the_account_and_the_shed_as_they_were() {
    let mut bench = Bench::with_two_cars();
    bench.fuse_carries(60);
    bench.fuse_carries_for(30, 90);
    for _ in 0..2 {
        for state in bench.started_anew() {
            assert_eq!(state.overloads, bench.core.state().overloads);
            assert_eq!(state.available(bench.now), bench.core.state().available(bench.now));
        }
        bench.fuse_carries_for(20, 90);
        assert_eq!(bench.available(), Some(DeciAmps::ZERO));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever meters say, nobody is told more than without them, and what is available is never more. The roll-out asserts INV-1
    /// on every command that leaves.
    #[test]
    fn the_guard_never_raises(readings in prop::collection::vec((1_i64..90, 0_i64..200), 1..40)) {
        let mut bench = Bench::with_two_cars();
        let mut told_before = [320, 320];
        for (gap, amps) in readings {
            bench.pass(gap);
            bench.fuse_carries(amps);
            let state = bench.core.state();
            let by_limits = state.available_by_limits(bench.now);
            for (with, without) in state.available(bench.now).iter().zip(&by_limits) {
                let never_more = with.zip(without, |with, without| with.tighter(without) == *with);
                prop_assert!(never_more.points().iter().all(|(_, never_more)| *never_more));
            }
            let is_shedding = !state.overloaded(bench.now).is_empty();
            let told = bench.ceilings();
            if is_shedding {
                prop_assert!(told[0] <= told_before[0] && told[1] <= told_before[1], "{told:?} after {told_before:?}");
                prop_assert_eq!(bench.available(), Some(DeciAmps::ZERO));
            }
            bench.find_all();
            bench.accept_all();
            bench.find_all();
            told_before = bench.ceilings();
        }
    }
}

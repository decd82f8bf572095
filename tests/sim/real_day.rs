//! What safety costs: a real day played with the roll-out's rule, and the same day with every plan sent at once.
//!
//! Decides nothing about power: the core does. Both runs keep the same reserve, see the same cars and meters and lose the same
//! share of messages. What differs is that one waits for room, and the other takes it.
//!
//! ```text
//! LADDPLAN_DAY_HOURS=24 cargo test --release --lib sim::real_day -- --nocapture
//! ```

use super::dice::Dice;
use super::number;
use crate::domain::conversion::Rate;
use crate::domain::event::Event;
use crate::domain::ids::{GridLimitId, NodeId, SessionId, SiteKey};
use crate::domain::limits::{GridLimit, LimitSource, LimitWindow, NodeLimit};
use crate::domain::plan::Budget;
use crate::domain::profile::{Answer, Instruction, ProfileCommand, Revision};
use crate::domain::session::{Car, MeterSample, SessionSpec, Stated, Tier};
use crate::domain::timeline::Timeline;
use crate::engine::site_core::{Ask, Caller, Effect, Input, Question, SearchEnd, SearchJob, SiteCore, Then};
use crate::engine::state::SiteState;
use crate::engine::{Readings, Settings};
use crate::planner;
use crate::rollout::WrongRule;
use crate::simulate::day::{Day, GRID_CONNECTION};
use crate::simulate::tally::Figures;
use crate::simulate::yard::Yard;
use crate::units::{DeciAmps, Instant, Seconds, WattSeconds};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Of the day so many hours from the first arrival are played: until after the cut, unless the environment asks for more.
const HOURS: u64 = 7;
/// Meters are read as often as in the demo.
const READING_INTERVAL: i64 = 60;
/// From the service to a station, and back, in seconds.
const QUICK: (i64, i64) = (1, 3);
const LATE: (i64, i64) = (5, 120);

/// How often messages go wrong, in thousandths.
#[derive(Clone, Copy)]
struct Weather {
    lost: i64,
    late: i64,
    refused: i64,
    /// Of a station, per hour.
    restart: i64,
}

const FAIR: Weather = Weather {
    lost: 0,
    late: 0,
    refused: 0,
    restart: 0,
};
/// Every tenth message is lost, as many are late, stations refuse every thirtieth and restart twice a day.
const BAD: Weather = Weather {
    lost: 100,
    late: 100,
    refused: 33,
    restart: 80,
};

enum Message {
    ToStation(ProfileCommand),
    ToService(Event),
}

/// A station of the day: what it follows, and the highest revision that it has taken.
#[derive(Default)]
struct Station {
    running: Option<usize>,
    follows: Option<Instruction>,
    taken: Revision,
}

struct Play<'day> {
    day: &'day Day,
    weather: Weather,
    /// Whether the gateway refuses what is older than what it has taken.
    fences: bool,
    dice: Dice,
    core: SiteCore,
    search: Option<SearchJob>,
    yard: Yard<'day>,
    stations: Vec<Station>,
    network: BTreeMap<(Instant, u64), Message>,
    sent: u64,
    now: Instant,
    /// What the plan wants of each session.
    plan: HashMap<SessionId, Timeline<Rate>>,
    /// Since when the plan is not followed everywhere.
    behind_since: Option<Instant>,
    score: Score,
}

#[derive(Default)]
struct Score {
    /// What the plans wanted to offer, and what of it was offered, in deciampere-seconds.
    wanted: i64,
    offered: i64,
    /// For how long plans were not followed, each time one came.
    behind: Vec<i64>,
    commands: u64,
}

impl Score {
    /// The share of what the plans wanted that was offered, in hundred-thousandths.
    fn utilisation(&self) -> i64 {
        self.offered * 100_000 / self.wanted.max(1)
    }

    fn behind(&self, permille: usize) -> i64 {
        let mut behind = self.behind.clone();
        behind.sort_unstable();
        behind
            .get((behind.len().max(1) - 1) * permille / 1_000)
            .copied()
            .unwrap_or(0)
    }
}

fn play(day: &Day, weather: Weather, fences: bool, rule: Option<WrongRule>) -> (Figures, Score) {
    let hours = number("LADDPLAN_DAY_HOURS").unwrap_or(HOURS);
    let end = day.end.min(day.start + Seconds::from_hours(hours as i64));
    let mut play = Play::new(day, weather, fences, rule);
    while play.now < end {
        play.second();
    }
    (play.yard.finish(), play.score)
}

impl<'day> Play<'day> {
    fn new(day: &'day Day, weather: Weather, fences: bool, rule: Option<WrongRule>) -> Self {
        let spec = day.site.spec();
        let settings = Settings {
            budget: Budget { iterations: 0 },
            watchdog: Duration::from_secs(60),
            cut_watchdog: Duration::from_secs(60),
            solver_threads: 1,
        };
        let key = SiteKey {
            tenant: spec.tenant.clone(),
            site: spec.id.clone(),
        };
        let mut play = Self {
            day,
            weather,
            fences,
            dice: Dice::new(1, 9),
            core: SiteCore::new(SiteState::empty(key), settings),
            search: None,
            yard: Yard::new(day),
            stations: day.evses.iter().map(|_| Station::default()).collect(),
            network: BTreeMap::new(),
            sent: 0,
            now: day.start,
            plan: HashMap::new(),
            behind_since: None,
            score: Score::default(),
        };
        play.give(Input::Started);
        play.say(Event::SitePut(Box::new(spec.clone())));
        play.core.break_rule(rule);
        play.say(Event::PricesSet(day.prices.clone()));
        let gateway = spec.gateway.clone().expect("the day has one");
        play.say(Event::GatewayConnected { gateway, fences });
        play
    }

    fn second(&mut self) {
        self.cars_come_and_go();
        self.manager_cuts();
        self.deliver();
        self.meters_are_read();
        if self.core.next_wake() <= self.now {
            self.give(Input::Woke);
        }
        self.look();
        let (stations, now) = (&self.stations, self.now);
        self.yard.second(now, |evse| stations[evse].offers(now));
        self.now = self.now + Seconds::from_secs(1);
    }

    fn cars_come_and_go(&mut self) {
        for (index, session) in self.day.sessions.iter().enumerate() {
            if session.departure == self.now {
                self.stations[session.evse].running = None;
                self.stations[session.evse].follows = None;
                let ended = Event::SessionEnded {
                    session: session_id(&session.id),
                    at: self.now,
                    reason: "unplugged".to_owned(),
                };
                self.yard.unplug(index);
                self.say(ended);
            }
            if session.arrival == self.now {
                self.stations[session.evse].running = Some(index);
                self.yard.plug_in(index);
                let spec = SessionSpec {
                    id: session_id(&session.id),
                    evse: self.day.evses[session.evse].id.clone(),
                    connector: None,
                    arrival: session.arrival,
                    departure: session.requested_departure.map_or(Stated::Unknown, Stated::Given),
                    need: session.requested.map_or(Stated::Unknown, Stated::Given),
                    guaranteed: WattSeconds::ZERO,
                    interruptible: true,
                    tier: Tier::NORMAL,
                    group: None,
                    driver: None,
                    car: Car::default(),
                    ocpi: None,
                };
                self.say(Event::SessionStarted(Box::new(spec)));
            }
        }
    }

    fn manager_cuts(&mut self) {
        let id = GridLimitId::parse("cut").expect("is an id");
        let cut = self.day.cut;
        if self.now == cut.from {
            self.yard.set_grid_limit(self.now, cut.limit);
            self.say(Event::GridLimitSet(GridLimit {
                id,
                node: NodeId::parse(GRID_CONNECTION).expect("is an id"),
                source: LimitSource::SiteManager,
                limit: NodeLimit {
                    line: None,
                    total: Some(cut.limit),
                },
                when: LimitWindow::Once {
                    from: cut.from,
                    until: None,
                },
            }));
        } else if self.now == cut.until {
            self.yard.set_grid_limit(self.now, self.day.grid_limit);
            self.say(Event::GridLimitRemoved(id));
        }
    }

    fn meters_are_read(&mut self) {
        if self.now.unix_secs() % READING_INTERVAL != 0 {
            return;
        }
        let sessions = self.yard.sessions();
        let samples = sessions.map(|session| {
            let evse = self.day.sessions[session].evse;
            let (draw, phases) = (self.yard.draw(evse), self.day.evses[evse].wires.phases());
            let currents = [0, 1, 2].map(|phase| if phase < phases { draw.current } else { DeciAmps::ZERO });
            MeterSample {
                evse: self.day.evses[evse].id.clone(),
                at: self.now,
                session_energy: Some(self.yard.delivered(session)),
                power: Some(draw.power),
                currents: Some(currents),
            }
        });
        let samples: Vec<_> = samples.collect();
        if !samples.is_empty() {
            self.ask(Question::Meter(Readings::OfEvses(samples)));
        }
    }

    // --- The network --------------------------------------------------------------------------------------------------------

    fn send(&mut self, message: Message) {
        if self.dice.happens(self.weather.lost) {
            return;
        }
        let (least, most) = if self.dice.happens(self.weather.late) {
            LATE
        } else {
            QUICK
        };
        let arrives = self.now + Seconds::from_secs(self.dice.roll(least, most));
        self.sent += 1;
        self.network.insert((arrives, self.sent), message);
    }

    fn deliver(&mut self) {
        if self.weather.restart > 0 && self.now.unix_secs() % 3_600 == 0 {
            for station in &mut self.stations {
                if self.dice.happens(self.weather.restart) {
                    station.follows = None;
                }
            }
        }
        while let Some(first) = self.network.first_entry().filter(|first| first.key().0 <= self.now) {
            match first.remove() {
                Message::ToStation(command) => self.reach_station(command),
                Message::ToService(event) => self.say(event),
            }
        }
    }

    fn reach_station(&mut self, command: ProfileCommand) {
        let evse = self.day.evses.iter().position(|evse| evse.id == command.evse);
        let station = &mut self.stations[evse.expect("is of the site")];
        let running = station
            .running
            .map(|session| session_id(&self.day.sessions[session].id));
        let refuses = self.dice.happens(self.weather.refused);
        let is_stale = self.fences && command.revision < station.taken;
        let answer = if refuses || is_stale || running.as_ref() != Some(&command.session) {
            Answer::Rejected {
                reason: "no".to_owned(),
            }
        } else {
            station.taken = command.revision;
            station.follows = Some(command.instruction.clone());
            Answer::Accepted
        };
        self.send(Message::ToService(Event::CommandAnswered {
            evse: command.evse,
            revision: command.revision,
            attempt: command.attempt,
            answer,
        }));
    }

    // --- The service --------------------------------------------------------------------------------------------------------

    fn say(&mut self, event: Event) {
        self.ask(Question::Submit {
            request: None,
            event,
            id_was_used: Ok(false),
        });
    }

    fn ask(&mut self, question: Question) {
        self.give(Input::Asked(vec![Ask {
            caller: Caller(0),
            question,
        }]));
    }

    /// Every append succeeds, and a search ends within the second.
    fn give(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let step = self.core.step(self.now, input);
            for effect in step.effects {
                match effect {
                    Effect::Send(outgoing) => {
                        self.score.commands += 1;
                        self.send(Message::ToStation(outgoing.into_inner().command));
                    }
                    Effect::Search(job) => self.search = Some(job),
                    Effect::AbandonSearch => self.search = None,
                    Effect::ShowPlan(plan) => {
                        let sessions = plan.iter().flat_map(|plan| &plan.sessions);
                        self.plan = sessions
                            .map(|session| (session.session.clone(), session.rates.clone()))
                            .collect();
                        self.behind_since = Some(self.now);
                    }
                    Effect::Answer(..) | Effect::KeepSnapshot(_) | Effect::ShowSummary(_) | Effect::ShowAlarms(_) => {}
                }
            }
            next = match step.then {
                Then::Append(append) => Some(Input::Appended(append.unsaid, Ok(()))),
                Then::Wait => self.search.take().map(|job| {
                    let plan = planner::plan(&job.snapshot, job.budget);
                    Input::SearchEnded(SearchEnd::Found(plan, 0))
                }),
                Then::ReadAgain | Then::Stop(_) => unreachable!("nothing fails here"),
            };
        }
    }

    /// What is offered of what the plan wants.
    fn look(&mut self) {
        let mut is_followed = true;
        for (evse, station) in self.stations.iter().enumerate() {
            let Some(session) = station.running else { continue };
            let Some(rates) = self.plan.get(&session_id(&self.day.sessions[session].id)) else {
                continue;
            };
            let connector = &self
                .day
                .site
                .evse(&self.day.evses[evse].id)
                .expect("is of the site")
                .connectors[0];
            let wanted = connector.choice().floor(*rates.at(self.now)).value();
            let offered = station.offers(self.now).deciamps();
            self.score.wanted += wanted;
            self.score.offered += offered.min(wanted);
            is_followed &= offered == wanted;
        }
        if is_followed && let Some(since) = self.behind_since.take() {
            self.score.behind.push((self.now - since).secs());
        }
    }
}

impl Station {
    fn offers(&self, now: Instant) -> DeciAmps {
        match &self.follows {
            Some(Instruction::Set(profile)) => DeciAmps::from_deciamps(profile.limits().at(now).value()),
            // By default these stations do nothing, and none is ever handed back.
            Some(Instruction::Clear) | None => DeciAmps::ZERO,
        }
    }
}

fn session_id(id: &str) -> SessionId {
    SessionId::parse(id).expect("the day is read with care")
}

fn tell(what: &str, figures: &Figures, score: &Score) {
    println!(
        "{what:<34} {:>8.1} kWh, {:>6.2} % of what plans wanted, plans followed after {} s (median) {} s (95 %), {} commands, {} s above the limit",
        figures.energy().floor_watt_hours() as f64 / 1_000.0,
        score.utilisation() as f64 / 1_000.0,
        score.behind(500),
        score.behind(950),
        score.commands,
        figures.seconds_above(),
    );
}

#[test]
fn what_safety_costs_on_a_real_day() {
    let day = Day::carried().unwrap();
    for fences in [true, false] {
        let through = if fences { "fencing gateway" } else { "plain gateway" };
        let mut energy = Vec::new();
        for (weather, sky) in [(FAIR, "no faults"), (BAD, "a bad day")] {
            for (rule, how) in [(None, "safe"), (Some(WrongRule::SendAll), "all at once")] {
                let (figures, score) = play(&day, weather, fences, rule);
                tell(&format!("{through}, {sky}, {how}"), &figures, &score);
                if rule.is_none() {
                    assert_eq!(figures.seconds_above(), 0, "{through}, {sky}");
                }
                energy.push(figures.energy().watt_seconds());
            }
        }
        assert!(
            energy[0] * 100 >= energy[1] * 98,
            "without faults {through}: {} of {}",
            energy[0],
            energy[1]
        );
    }
}

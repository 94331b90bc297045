//! Bytes for one more of everything that grows in a facade: what it has in memory at two moments, and how many more there
//! were at the second. What comes once, and what the allocator keeps of the first readings, is in none.

use std::time::Duration;

use base64::Engine as _;
use extender_facade::simulator::{Options, Person};

use crate::figures::{Table, shown, size};
use crate::line::Line;
use crate::load::Standing;
use crate::processes::{self, Process};
use crate::world::{TOKEN, change, get};
use crate::{EMPTY_MAP, group, large_map, settled, start, start_for, team};

/// Operations that may run at once, and of these one caller's; a few less.
const ALL_OPERATIONS: usize = 250;
const OPERATIONS: usize = 50;

/// One more of each.
pub fn each() -> Table {
    let mut table = Table::new(&["one more", "bytes", "measured", "bounded by"]);
    let mut row = |what: &str, slope: &Slope, setting: &str| {
        table.row(&[what, &shown(slope.bytes()), &slope.told(), setting]);
    };
    row("row of the map", &of_map_rows(), "the map's file");
    for (what, form) in [
        ("cached member, names asked for", "maxResults=1"),
        (
            "cached member, all basic details asked for",
            "showBasicDetails=true&maxResults=1000000",
        ),
        (
            "cached member, all extended details asked for",
            "showExtendedDetails=true&maxResults=1000000",
        ),
    ] {
        row(what, &of_members(form), "cache.max_members");
    }
    row("group that is known", &of_groups(), "cache.max_groups");
    row("account that Cloud confirmed", &of_accounts(), "cache.max_accounts");
    let connections = of_connections();
    row("kept connection", &connections, "inbound.max_connections");
    let reads = of_waiting(What::Reads);
    row(
        "call that waits, a getUsers (with its connection)",
        &reads,
        "cloud.max_waiting",
    );
    row(
        "call that waits, an addUsers of one name (with its connection)",
        &of_waiting(What::Changes),
        "cloud.max_waiting",
    );
    row("name of an addUsers that runs", &of_names(), "extender.max_names");
    row(
        "caller of mode `passthrough` who read a small group",
        &of_callers(),
        "inbound.passthrough_partitions",
    );
    table
}

/// Memory at two moments, and how many more there were at the second.
struct Slope {
    before: u64,
    after: u64,
    from: u64,
    to: u64,
}

impl Slope {
    fn bytes(&self) -> f64 {
        (self.after as f64 - self.before as f64) / (self.to - self.from) as f64
    }

    fn told(&self) -> String {
        let mib = |bytes: u64| shown(bytes as f64 / 1_048_576.0);
        format!(
            "{} to {}: {} to {} MiB",
            shown(self.from as f64),
            shown(self.to as f64),
            mib(self.before),
            mib(self.after)
        )
    }
}

fn of_map_rows() -> Slope {
    let to: u32 = size("ROWS", 1_000_000, 50_000);
    let from = to / 10;
    let cloud = processes::cloud(&team(1));
    let idle = |rows: u32| settled(&start(&cloud, &large_map(rows), "")).own;
    Slope {
        before: idle(from),
        after: idle(to),
        from: from.into(),
        to: to.into(),
    }
}

fn of_members(form: &str) -> Slope {
    let members: u32 = size("MEMBERS", 20_000, 2_000);
    let mut options = team(members);
    options.group = (0..10)
        .map(|number| group(&format!("team-{number}"), members))
        .collect();
    let cloud = processes::cloud(&options);
    let map = processes::map(&processes::people(&options));
    let facade = start(&cloud, &map, "");
    let mut line = Line::to(facade.process.address);
    let mut read = |groups: std::ops::Range<u64>| {
        for number in groups {
            must(line.ask(get(&format!("getUsers/team-{number}?{form}")).as_bytes()));
        }
        settled(&facade).own
    };
    Slope {
        before: read(0..2),
        after: read(2..10),
        from: 2 * u64::from(members),
        to: 10 * u64::from(members),
    }
}

fn of_groups() -> Slope {
    let to: u32 = size("MEMBERS", 20_000, 2_000);
    let from = to / 10;
    let list = |groups: u32| {
        let cloud = processes::cloud(&Options { groups, ..team(1) });
        let facade = start(&cloud, EMPTY_MAP, "");
        must(Line::to(facade.process.address).ask(get("getGroups?maxResults=1").as_bytes()));
        settled(&facade).own
    };
    Slope {
        before: list(from),
        after: list(to),
        from: from.into(),
        to: to.into(),
    }
}

fn of_accounts() -> Slope {
    let each: u32 = size("MEMBERS", 20_000, 2_000) / 4;
    let mut options = team(each * 10);
    options.group = vec![group("team", 1)];
    let cloud = processes::cloud(&options);
    let facade = start(&cloud, EMPTY_MAP, "");
    let people = processes::people(&options);
    let mut line = Line::to(facade.process.address);
    let mut known = people.chunks(each as usize);
    let mut confirm = |times: usize| {
        for part in known.by_ref().take(times) {
            let ids: Vec<&str> = part.iter().map(|person| person.account_id.as_str()).collect();
            must(line.ask(change("addUsers/team?dryRun=true", &ids).as_bytes()));
        }
        settled(&facade).own
    };
    Slope {
        before: confirm(2),
        after: confirm(8),
        from: 2 * u64::from(each),
        to: 10 * u64::from(each),
    }
}

fn of_connections() -> Slope {
    let to: usize = size("WAITING", 2000, 200);
    let cloud = processes::cloud(&team(1));
    let facade = start(&cloud, EMPTY_MAP, "");
    let request = get("getGroups?maxResults=1");
    let mut kept = Vec::new();
    let mut more = |connections: usize| {
        while kept.len() < connections {
            let mut line = Line::to(facade.process.address);
            must(line.ask(request.as_bytes()));
            kept.push(line);
        }
        settled(&facade).own
    };
    Slope {
        before: more(to / 2),
        after: more(to),
        from: to as u64 / 2,
        to: to as u64,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Reads,
    Changes,
}

/// Each call is about another group, so that none is answered with what another one reads.
fn of_waiting(what: What) -> Slope {
    let most = match what {
        What::Reads => usize::MAX,
        What::Changes => ALL_OPERATIONS,
    };
    let to = size("WAITING", 2000, 200).min(most);
    let mut options = team(1);
    options.group = (0..to).map(|number| group(&format!("team-{number}"), 1)).collect();
    let cloud = processes::cloud(&options);
    let people = processes::people(&options);
    let tokens: Vec<String> = (0..to.div_ceil(OPERATIONS))
        .map(|number| format!("{TOKEN}-{number}"))
        .collect();
    let facade = start_for(&cloud, &processes::map(&people), &tokens, "");
    // The groups are known, who is in them is not.
    let list = get("getGroups?maxResults=1").replace(TOKEN, &tokens[0]);
    must(Line::to(facade.process.address).ask(list.as_bytes()));
    slow(&cloud);
    let mut waiting = Vec::new();
    let mut more = |calls: usize| {
        while waiting.len() < calls {
            let number = waiting.len();
            let (group, token) = (format!("team-{number}"), &tokens[number / OPERATIONS]);
            let request = match what {
                What::Reads => get(&format!("getUsers/{group}")).replace(TOKEN, token).into_bytes(),
                What::Changes => change(&format!("addUsers/{group}"), &[&people[0].username])
                    .replace(TOKEN, token)
                    .into_bytes(),
            };
            waiting.push(Standing::new(facade.process.address, &request));
        }
        let memory = settled(&facade).own;
        assert_eq!(
            waiting.iter().find_map(Standing::answer),
            None,
            "a call that should wait"
        );
        memory
    };
    Slope {
        before: more(to / 2),
        after: more(to),
        from: to as u64 / 2,
        to: to as u64,
    }
}

/// Past the planning: the group was read just before.
fn of_names() -> Slope {
    let to: u32 = size("MEMBERS", 20_000, 2_000);
    let from = to / 10;
    let run = |names: u32| {
        let mut options = team(to);
        options.group = vec![group("team", 0)];
        let cloud = processes::cloud(&options);
        let people = processes::people(&options);
        let facade = start(&cloud, &processes::map(&people), "");
        must(Line::to(facade.process.address).ask(get("getUsers/team").as_bytes()));
        slow(&cloud);
        let names = people.iter().take(names as usize);
        let names: Vec<&str> = names.map(|person: &Person| person.username.as_str()).collect();
        let call = Standing::new(facade.process.address, change("addUsers/team", &names).as_bytes());
        while facade.metric("facade_cloud_in_flight") < 1.0 {
            assert_eq!(call.answer(), None, "a call that should wait");
            std::thread::sleep(Duration::from_millis(10));
        }
        settled(&facade).own
    };
    Slope {
        before: run(from),
        after: run(to),
        from: from.into(),
        to: to.into(),
    }
}

fn of_callers() -> Slope {
    let to: usize = size("WAITING", 2000, 200);
    let mut options = team(1);
    options.group = vec![group("team", 1)];
    let cloud = processes::cloud(&options);
    let facade = start(&cloud, EMPTY_MAP, "inbound.mode = \"passthrough\"\n");
    let mut line = Line::to(facade.process.address);
    let mut more = |callers: std::ops::Range<usize>| {
        for number in callers {
            let pair = format!("caller{number}@example.com:token-{number}");
            let credential = base64::engine::general_purpose::STANDARD.encode(pair);
            let request = get("getUsers/team").replace(&format!("Bearer {TOKEN}"), &format!("Basic {credential}"));
            must(line.ask(request.as_bytes()));
        }
        settled(&facade).own
    };
    Slope {
        before: more(0..to / 2),
        after: more(to / 2..to),
        from: to as u64 / 2,
        to: to as u64,
    }
}

/// Cloud answers no more, as far as this bench lives to see.
fn slow(cloud: &Process) {
    let body = "{\"latency_ms\":\"3600000\"}";
    let request = format!(
        "POST /_sim/faults HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        cloud.address,
        body.len()
    );
    must(Line::to(cloud.address).ask(request.as_bytes()));
}

fn must((status, body): (u16, &[u8])) {
    let start = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    assert_eq!(status, 200, "{start}");
}

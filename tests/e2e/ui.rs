//! `lrl ui`: pages for one browser on this machine, and nothing for anybody else.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Lab, noise};
use crate::html::{chromium, elements, expect_inert, show};

/// A name that would run a script, if a name could.
const EVIL: &str = "<img src=x onerror=alert(1)>\"'&";

/// A server, ended with the test.
struct Ui {
    child: Child,
    port: u16,
    token: String,
    cookie: String,
    base: String,
}

/// An answer, taken apart.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ui {
    /// Starts a server; nobody has opened it yet.
    fn closed(lab: &Lab, flags: &str) -> Self {
        let words = format!("ui {flags}");
        let mut child =
            lab.command(words.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let rest = address.trim().strip_prefix("http://127.0.0.1:").unwrap_or_else(|| panic!("{address:?}"));
        let (port, token) = rest.split_once("/open?token=").unwrap();
        let (port, token) = (port.parse().unwrap(), token.to_string());
        Self { child, port, token, cookie: String::new(), base: String::new() }
    }

    /// Starts a server and opens it, as a browser would.
    fn start(lab: &Lab) -> Self {
        let mut ui = Self::closed(lab, "");
        let opened = ui.raw(&format!("GET /open?token={} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", ui.token, ui.port));
        assert_eq!(opened.status, 303, "{}", opened.text());
        let cookie = &opened.headers["set-cookie"];
        assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains("Domain"), "{cookie}");
        ui.cookie = cookie.split(';').next().unwrap().to_string();
        ui.base = opened.headers["location"].trim_end_matches('/').to_string();
        assert!(cookie.contains(&format!("Path={}/", ui.base)), "{cookie}");
        ui
    }

    /// Sends bytes, and reads until the end.
    fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // A server that has refused already may not read all of it.
        let _ = stream.write_all(request.as_bytes());
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else { return Answer { status: 0, headers: BTreeMap::new(), body: all } };
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.into())).collect();
        Answer { status, headers, body: all[end + 4..].to_vec() }
    }

    /// Asks for an address as the browser that opened the server would, with more headers.
    fn ask(&self, method: &str, address: &str, more: &str) -> Answer {
        let (port, cookie) = (self.port, &self.cookie);
        self.raw(&format!("{method} {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n{more}\r\n"))
    }

    /// Asks for a page below the base, which must be shown.
    #[track_caller]
    fn page(&self, rest: &str) -> String {
        let answer = self.ask("GET", &format!("{}/{rest}", self.base), "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let html = answer.text();
        expect_inert(&html);
        html
    }

    /// Asks for what the first link leads to whose address contains this.
    #[track_caller]
    fn follow(&self, html: &str, part: &str) -> Answer {
        let links = elements(html).into_iter().filter_map(|e| e.attributes.get("href").cloned());
        let link = links.into_iter().find(|link| link.contains(part)).unwrap_or_else(|| panic!("{part}: {html}"));
        self.ask("GET", &link.replace("&amp;", "&"), "")
    }
}

fn lab() -> Lab {
    let lab = Lab::small();
    lab.upload("ab12/page.txt", b"<script>alert(1)</script>\n");
    lab.upload("big.bin", &noise(9_000_000, 7));
    lab.write(format!("data/assets/{EVIL}"), "evil\n");
    lab.lrl("backup --snapshot-only").expect(0);
    lab.upload("ab12/new.txt", b"new\n");
    lab.lrl("backup --snapshot-only").expect(0);
    lab
}

#[test]
fn a_browser_finds_a_file_and_downloads_it() {
    let lab = lab();
    let ui = Ui::start(&lab);
    let home = ui.page("");
    assert!(home.contains("All is well") && home.contains("Restore"), "{home}");
    let snapshots = ui.page("snapshots");
    let root = ui.follow(&snapshots, "/browse?").text();
    assert!(root.contains("lrl.db") && root.contains("assets/"), "{root}");
    let assets = ui.follow(&root, "path=assets").text();
    expect_inert(&assets);
    assert!(assets.contains("&lt;img src=x onerror=alert(1)&gt;") && !assets.contains("<img"), "{assets}");
    let evil = ui.follow(&assets, "path=assets/%3Cimg").text();
    expect_inert(&evil);
    assert!(evil.contains("<pre class=\"contents\" tabindex=\"0\">evil\n</pre>"), "{evil}");
    let dir = ui.follow(&assets, "path=assets/ab12").text();
    let file = ui.follow(&dir, "path=assets/ab12/page.txt").text();
    expect_inert(&file);
    assert!(file.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && file.contains("lrl restore "), "{file}");
    let download = ui.follow(&file, "/download?");
    assert_eq!((download.status, download.body.as_slice()), (200, &b"<script>alert(1)</script>\n"[..]));
    assert_eq!(download.headers["content-type"], "application/octet-stream");
    assert_eq!(download.headers["content-disposition"], "attachment; filename*=UTF-8''page.txt");
    let big = ui.follow(&assets, "path=assets/big.bin").text();
    assert!(big.contains("How it begins") && big.contains("000000  "), "{big}");
    assert!(ui.follow(&big, "/download?").body == noise(9_000_000, 7));
    // The database, as SQLite reads it.
    let database = ui.follow(&root, "path=lrl.db").text();
    expect_inert(&database);
    fs::write(lab.path("downloaded.db"), ui.follow(&database, "/download?").body).unwrap();
    let rows = rusqlite::Connection::open(lab.path("downloaded.db")).unwrap();
    assert_eq!(rows.query_row("SELECT count(*) FROM content_items", [], |row| row.get::<_, i64>(0)).unwrap(), 20);
}

#[test]
fn a_browser_searches_compares_and_goes_back_in_time() {
    let lab = lab();
    let ui = Ui::start(&lab);
    let found = ui.page("search?q=*.txt");
    assert!(found.contains("assets/ab12/new.txt") && found.contains("lrl find &#39;*.txt&#39;"), "{found}");
    assert!(ui.page("search?q=nothing-like-it").contains("No snapshot holds such a file"));
    let changed = ui.follow(&ui.page("snapshots"), "/diff?").text();
    expect_inert(&changed);
    assert!(changed.contains("1 added, 0 removed") && changed.contains("assets/ab12/new.txt"), "{changed}");
    let now = ui.ask("GET", &format!("{}/at?at=now", ui.base), "");
    assert_eq!(now.status, 303);
    assert!(ui.ask("GET", &now.headers["location"], "").text().contains("Snapshot of"));
    let before = ui.ask("GET", &format!("{}/at?at=2001-01-01", ui.base), "");
    assert_eq!(before.status, 404, "{}", before.text());
    assert_eq!(ui.ask("GET", &format!("{}/at?at=whenever", ui.base), "").status, 400);
}

#[test]
fn a_browser_looks_into_tables_and_asks_queries() {
    let lab = lab();
    let odd = EVIL.replace('"', "");
    let sql = format!(
        "CREATE TABLE \"{odd}\" (\"{odd}\"); INSERT INTO \"{odd}\" VALUES ('{}'), (NULL)",
        EVIL.replace('\'', "''")
    );
    lab.database().execute_batch(&sql).unwrap();
    lab.database().execute_batch("CREATE TABLE many(n); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 250) INSERT INTO many SELECT n FROM c").unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    let ui = Ui::start(&lab);
    let root = ui.follow(&ui.page("snapshots"), "/browse?").text();
    let database = ui.follow(&root, "path=lrl.db").text();
    expect_inert(&database);
    let rows = ui.follow(&database, "FROM%20%22%3Cimg").text();
    expect_inert(&rows);
    assert!(
        rows.contains("<td class=\"cell\">&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;</td>")
            && rows.contains("NULL"),
        "{rows}"
    );
    let many = ui.follow(&database, "FROM%20%22many").text();
    assert!(many.contains("Rows 1 to 100") && many.contains("lrl sql "), "{many}");
    let last = ui.follow(&ui.follow(&many, "page=1").text(), "page=2").text();
    assert!(last.contains("Rows 201 to 250") && !last.contains(">More<"), "{last}");
    let part = database.find("name=\"snapshot\" value=\"").unwrap() + "name=\"snapshot\" value=\"".len();
    let id = &database[part..part + 64];
    let ask = |query: &str| ui.ask("GET", &format!("{}/sql?snapshot={id}&path=lrl.db&q={query}", ui.base), "");
    assert!(ask("SELECT+count(*)+AS+number+FROM+many").text().contains("<td class=\"cell\">250</td>"));
    for query in
        ["DELETE+FROM+many", "SELECT", "PRAGMA+user_version%3D1", "ATTACH+'/etc/passwd'+AS+p", "SELECT+1;SELECT+2"]
    {
        let answer = ask(query);
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(answer.text().contains("class=\"note\""), "{query}");
    }
}

#[test]
fn a_browser_sees_when_rows_vanished() {
    let lab = lab();
    let odd = EVIL.replace('"', "");
    lab.database()
        .execute_batch(&format!("CREATE TABLE \"{odd}\" (a); DELETE FROM content_items WHERE id < 5"))
        .unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    for _ in 0..31 {
        lab.database().execute("INSERT INTO content_items (title) VALUES ('one more')", []).unwrap();
        lab.lrl("backup --snapshot-only").expect(0);
    }
    lab.write("data/assets/more.txt", "more\n");
    lab.lrl("backup --snapshot-only --assets-only --source files").expect(0);
    let ui = Ui::start(&lab);
    let rows = ui.follow(&ui.page(""), "/rows").text();
    expect_inert(&rows);
    assert!(rows.contains("46 (+1)"), "{rows}");
    assert!(rows.contains("&lt;img src=x onerror=alert(1)&gt;") && rows.contains("lrl rows --store "), "{rows}");
    assert_eq!(rows.matches("<tr>").count(), 31, "a page and its heading: {rows}");
    // Of the oldest on the first page the change is known too.
    let older = ui.follow(&rows, "to=").text();
    expect_inert(&older);
    assert!(older.contains("15 (-5)") && older.contains("class=\"bad-text\""), "{older}");
    assert!(!older.contains(">Older<"), "{older}");
    let one = ui.page("rows?table=Content_Items");
    assert!(one.contains("lrl rows Content_Items ") && one.contains("The tables that changed"), "{one}");
    assert!(ui.follow(&one, "/sql?").text().contains("one more"));
    assert!(ui.page("rows?table=nothing").contains("None of these snapshots has a table nothing"));
    for (address, status) in [
        ("rows?source=files", 404),
        ("rows?source=nobody", 404),
        ("rows?path=nothing.db", 200),
        ("rows?to=0", 404),
        ("rows?table=%22%3B--", 200),
    ] {
        let answer = ui.ask("GET", &format!("{}/{address}", ui.base), "");
        assert_eq!(answer.status, status, "{address}: {}", answer.text());
        expect_inert(&answer.text());
    }
}

#[test]
fn every_answer_forbids_what_a_page_does_not_need() {
    let lab = lab();
    let ui = Ui::start(&lab);
    for address in [format!("{}/", ui.base), "/elsewhere".into(), format!("{}/nothing", ui.base)] {
        let answer = ui.ask("GET", &address, "");
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.headers[name], value, "{address}");
        }
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[test]
fn nobody_else_gets_anything() {
    let lab = lab();
    let ui = Ui::start(&lab);
    let home = format!("{}/", ui.base);
    let get = |host: &str, cookie: &str| {
        ui.raw(&format!("GET {home} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n")).status
    };
    let own = format!("127.0.0.1:{}", ui.port);
    assert_eq!(get(&own, &ui.cookie), 200);
    // A tunnel has another port on its side.
    assert_eq!((get("localhost:9", &ui.cookie), get("[::1]:9", &ui.cookie)), (200, 200));
    for host in ["evil.example", "127.0.0.1.evil.example", &format!("evil.example:{}", ui.port), "0.0.0.0"] {
        assert_eq!(get(host, &ui.cookie), 421, "{host}");
    }
    for cookie in ["", "lrl-ui=", "lrl-ui=0000", "other=1"] {
        assert_eq!(get(&own, cookie), 403, "{cookie}");
    }
    let token = format!("/open?token={}", ui.token);
    for address in [token.as_str(), "/open?token=0000", "/open", "/open?token="] {
        let answer = ui.raw(&format!("GET {address} HTTP/1.1\r\nHost: {own}\r\n\r\n"));
        assert_eq!(answer.status, 403, "{address}");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    for (more, status) in [
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        ("Content-Length: 3\r\n\r\nabc", 400),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n", 400),
    ] {
        assert_eq!(ui.ask("GET", &home, more).status, status, "{more:?}");
    }
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "BREW"] {
        let answer = ui.ask(method, &home, "");
        assert!([405, 421, 400].contains(&answer.status) && answer.status != 200, "{method}: {}", answer.status);
    }
    let none = ui.raw(&format!("GET {home} HTTP/1.1\r\nCookie: {}\r\n\r\n", ui.cookie));
    assert!([400, 421].contains(&none.status), "{}", none.status);
    let absolute = ui.raw(&format!("GET http://{own}{home} HTTP/1.1\r\nHost: {own}\r\nCookie: {}\r\n\r\n", ui.cookie));
    assert_eq!(absolute.status, 421);
}

#[test]
fn no_address_leads_out_of_a_snapshot_or_ends_the_server() {
    let lab = lab();
    lab.write("secret.txt", "top secret");
    let ui = Ui::start(&lab);
    let id = lab.lrl("snapshots --json").expect(0).json()["snapshots"][0]["id"].as_str().map(String::from);
    let id = id.unwrap_or_else(|| panic!("{:#}", lab.lrl("snapshots --json").json()));
    let home = ui.base.clone();
    for path in [
        "../secret.txt",
        "../../../../etc/passwd",
        "/etc/passwd",
        "assets/../../secret.txt",
        "%2e%2e%2fsecret.txt",
        "assets%00",
    ] {
        for page in ["file", "download", "browse"] {
            let answer = ui.ask("GET", &format!("{home}/{page}?snapshot={id}&path={path}"), "");
            assert!(answer.status >= 300 && !answer.text().contains("top secret"), "{page} {path}: {}", answer.text());
        }
    }
    let long = format!("{home}/search?q={}", "a".repeat(5000));
    assert_eq!(ui.ask("GET", &long, "").status, 414);
    let longer = ui.ask("GET", &format!("{home}/?{}", "a".repeat(100_000)), "");
    assert!([0, 414, 431].contains(&longer.status), "{}", longer.status);
    for bad in [
        "browse",
        "browse?snapshot=nonsense",
        "diff?from=1&to=2",
        "search?q=%5B",
        "snapshots?page=99999999999999999999",
        "file?snapshot=%ff",
        "snapshots?source=nobody",
        "browse?snapshot=%",
        "search?q=%00",
        "at?at=99999999y",
    ] {
        let answer = ui.ask("GET", &format!("{home}/{bad}"), "");
        assert!([200, 400, 404].contains(&answer.status), "{bad}: {} {}", answer.status, answer.text());
    }
    for garbage in ["nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n", "GET /\r\n\r\n"] {
        assert!(ui.raw(garbage).status != 200);
    }
    // Somebody who sends nothing keeps nobody else waiting.
    let idle: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(("127.0.0.1", ui.port)).unwrap()).collect();
    idle.iter().for_each(|mut stream| _ = stream.write_all(b"GET / HT"));
    assert!(ui.page("").contains("All is well"));
}

#[test]
fn it_listens_here_only_leaves_no_trace_and_ends() {
    let lab = lab();
    let tree = |lab: &Lab| {
        let mut found = Vec::new();
        let mut waiting = vec![lab.path("backups"), lab.path("data")];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let meta = entry.metadata().unwrap();
                found.push((entry.path(), if meta.is_file() { meta.len() } else { 0 }));
                if meta.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        found.sort();
        found
    };
    let before = tree(&lab);
    let mut ui = Ui::start(&lab);
    ui.page("");
    ui.page("search?q=*.txt");
    assert_eq!(tree(&lab), before);
    // A prune needs the store for itself: between requests nothing holds it.
    lab.lrl("prune --lock-wait 0").expect(0);
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let listens = sockets.lines().filter(|line| line.contains(&format!(":{:04X} 00000000:0000 0A", ui.port)));
    assert!(listens.clone().count() == 1 && listens.clone().all(|line| line.contains("0100007F:")), "{sockets}");
    kill_process(Pid::from_child(&ui.child), Signal::INT).unwrap();
    assert_eq!(ui.child.wait().unwrap().code(), Some(0));

    let mut idle = Ui::closed(&lab, "--idle 1s");
    assert_eq!(idle.child.wait().unwrap().code(), Some(0));
    let mut told = String::new();
    idle.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("nothing was asked for in 1 s"), "{told}");
    assert!(lab.lrl("ui --store ./nowhere").expect(10).stdout.is_empty());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let run = lab.lrl(&format!("ui --port {}", taken.local_addr().unwrap().port())).expect(1);
    assert!(run.stderr.contains("cannot listen on"), "{}", run.stderr);
}

#[test]
fn a_real_browser_opens_it_without_a_complaint() {
    let Some(browser) = chromium() else { return };
    let lab = lab();
    let ui = Ui::closed(&lab, "");
    let url = format!("http://127.0.0.1:{}/open?token={}", ui.port, ui.token);
    let (dom, log) = show(&browser, &lab.path("profile"), &["--dump-dom"], &url);
    assert!(dom.contains("All is well") && dom.contains("Snapshots"), "{dom}\n{log}");
    assert!(!log.contains("CONSOLE") && !log.contains("Refused to"), "{log}");
}

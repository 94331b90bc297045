//! nginx as a plain reverse proxy with kept connections.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::processes::{self, Process};

/// nginx before this address, its files in this folder; `None`: it is not installed.
pub fn before(cloud: SocketAddr, folder: &Path) -> Option<Process> {
    let program = std::env::var("FACADE_BENCH_NGINX").unwrap_or_else(|_| "nginx".to_owned());
    let version = Command::new(&program).arg("-v").stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("nginx is not installed ({program}): its rows are left out");
        return None;
    }
    let address = processes::free();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {}/nginx-{what};\n", folder.display()))
        .collect();
    // One process: it can be ended without leaving others behind.
    let config = format!(
        "daemon off;\nmaster_process off;\npid {0}/nginx.pid;\nerror_log {0}/nginx.log;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
         upstream cloud {{ server {cloud}; keepalive 16; keepalive_requests 100000000; }}\n\
         server {{\nlisten {address};\nkeepalive_requests 100000000;\nkeepalive_timeout 3600;\n\
         location / {{ proxy_pass http://cloud; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n}}\n}}\n",
        folder.display()
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).expect("a file");
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-c").arg(file).stderr(Stdio::null());
    Some(Process::at(&mut command, address))
}

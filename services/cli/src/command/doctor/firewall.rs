//! What firewalls of this machine say, where they can be read.

use super::finding::Finding;
use super::programs::{Said, ask};

/// Looks at the rules of nft, iptables, firewalld and ufw.
pub(super) async fn firewall(port: u16) -> Vec<Finding> {
    let (nft, iptables, firewalld, ufw) = tokio::join!(
        ask("nft", &["list", "ruleset"]),
        ask("iptables-legacy-save", &[]),
        ask("firewall-cmd", &["--list-ports"]),
        ask("ufw", &["status"]),
    );
    let judged = [
        judge("nft", &nft, |rules| of_nft(rules, port)),
        judge("iptables", &iptables, |rules| of_iptables(rules, port)),
        judge("firewalld", &firewalld, |ports| {
            Some(of_firewalld(ports, port))
        }),
        judge("ufw", &ufw, |status| of_ufw(status, port)),
    ];
    let mut findings: Vec<Finding> = judged.into_iter().flatten().collect();
    if findings.is_empty() {
        let text = "no firewall of this machine is known to keep anything out";
        findings.push(Finding::ok("firewall", text));
    }
    findings
}

/// What a tool says; nothing where it is missing, or keeps nothing out.
fn judge(tool: &str, said: &Said, of: impl FnOnce(&str) -> Option<Finding>) -> Option<Finding> {
    let finding = match said {
        Said::Missing => None,
        Said::Refused if rustix::process::geteuid().is_root() => None,
        Said::Refused => {
            let text = format!("the rules of {tool} cannot be read by this user");
            Some(
                Finding::hint("firewall", text)
                    .advise("As root this tells more: `sudo zeroshare doctor`."),
            )
        }
        Said::Words(words) => of(words),
    };
    finding.map(|finding| finding.about(tool))
}

/// Chains of incoming packets that drop: by a rule that names the port, multicast or UDP, or what they do not accept.
fn of_nft(rules: &str, port: u16) -> Option<Finding> {
    let chains = chains_of_input(rules);
    let named = port.to_string();
    let lines = || chains.iter().flat_map(|(_, lines)| lines.iter().copied());
    let dropping = || lines().filter(|line| has_word(line, "drop") || has_word(line, "reject"));
    let is_of_udp = |line: &&str| has_word(line, "udp") && !has_word(line, "dport");
    let kept_out = [
        (
            dropping().find(|line| has_word(line, &named)),
            format!("port {port}"),
        ),
        (dropping().find(is_of_multicast), "multicast".to_owned()),
        (dropping().find(is_of_udp), "UDP".to_owned()),
    ];
    for (rule, what) in kept_out {
        if let Some(rule) = rule {
            let text = format!("nft has a rule that keeps {what} out: {}", rule.trim());
            let advice = format!(
                "Remove that rule, or let UDP and TCP port {port} of your network pass before it."
            );
            return Some(Finding::fault("firewall", text).advise(advice));
        }
    }
    let (name, lines) = chains.iter().find(|(_, lines)| is_closed(lines))?;
    let mut accepting = lines.iter().filter(|line| has_word(line, "accept"));
    let is_let_in = accepting.any(|line| has_word(line, &named));
    Some(closed_but(&format!("nft's chain {name}"), is_let_in, port))
}

fn is_of_multicast(line: &&str) -> bool {
    let groups = ["224.0.0.0/4", "239.", "multicast", "ff12::", "ff00::/8"];
    groups.iter().any(|group| line.contains(group))
}

/// Whether a chain drops what no rule of it accepts.
fn is_closed(lines: &[&str]) -> bool {
    let is_last_word = |line: &&str| {
        let line = line.trim();
        matches!(line, "drop" | "reject") || line.starts_with("reject with")
    };
    lines.iter().any(|line| line.contains("policy drop")) || lines.iter().any(is_last_word)
}

/// The chains that incoming packets pass, with their lines.
fn chains_of_input(rules: &str) -> Vec<(&str, Vec<&str>)> {
    let mut chains: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut current: Option<(&str, Vec<&str>)> = None;
    for line in rules.lines() {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix("chain ") {
            current = Some((name.trim_end_matches('{').trim(), Vec::new()));
        } else if trimmed == "}" {
            let is_input = |lines: &[&str]| lines.iter().any(|line| line.contains("hook input"));
            chains.extend(current.take().filter(|(_, lines)| is_input(lines)));
        } else if let Some((_, lines)) = &mut current {
            lines.push(line);
        }
    }
    chains
}

fn of_iptables(rules: &str, port: u16) -> Option<Finding> {
    let named = port.to_string();
    let input = || rules.lines().filter(|line| line.starts_with("-A INPUT"));
    let drops = |line: &str| has_word(line, "DROP") || has_word(line, "REJECT");
    if let Some(rule) = input().find(|line| has_word(line, &named) && drops(line)) {
        let text = format!("iptables has a rule that keeps port {port} out: {rule}");
        let advice = "Remove that rule, or let your network pass before it.";
        return Some(Finding::fault("firewall", text).advise(advice));
    }
    let by_policy = rules.lines().any(|line| line.starts_with(":INPUT DROP"));
    let drops_rest =
        |line: &str| line.trim() == "-A INPUT -j DROP" || line.starts_with("-A INPUT -j REJECT");
    let is_let_in = input().any(|line| has_word(line, &named) && has_word(line, "ACCEPT"));
    let is_closed = by_policy || input().any(drops_rest);
    is_closed.then(|| closed_but("iptables' INPUT", is_let_in, port))
}

fn of_firewalld(ports: &str, port: u16) -> Finding {
    let missing: Vec<String> = ["udp", "tcp"]
        .map(|protocol| format!("{port}/{protocol}"))
        .into_iter()
        .filter(|wanted| !ports.split_whitespace().any(|open| open == wanted))
        .collect();
    if missing.is_empty() {
        return Finding::ok("firewall", format!("firewalld lets port {port} in"));
    }
    let text = format!(
        "firewalld runs, and its default zone does not open {}",
        missing.join(" and ")
    );
    Finding::hint("firewall", text).advise(format!(
        "firewall-cmd --permanent --add-port={port}/udp --add-port={port}/tcp && firewall-cmd --reload"
    ))
}

fn of_ufw(status: &str, port: u16) -> Option<Finding> {
    if !status.contains("Status: active") {
        return None;
    }
    let port = port.to_string();
    let is_let_in = status.lines().any(|line| {
        let first = line.split_whitespace().next().unwrap_or_default();
        first.split('/').next() == Some(port.as_str()) && line.contains("ALLOW")
    });
    Some(if is_let_in {
        Finding::ok("firewall", format!("ufw lets port {port} in"))
    } else {
        let text = format!("ufw is active, and no rule of it lets port {port} in");
        Finding::hint("firewall", text).advise(format!(
            "ufw allow from 192.168.1.0/24 to any port {port} (with your network)"
        ))
    })
}

fn closed_but(chain: &str, is_let_in: bool, port: u16) -> Finding {
    if is_let_in {
        let text = format!("{chain} drops what it does not accept, and accepts port {port}");
        return Finding::ok("firewall", text);
    }
    let text =
        format!("{chain} drops what it does not accept, and no rule of it names port {port}");
    Finding::hint("firewall", text).advise(format!(
        "If others are not heard, that is why. README, \"Firewall\", has the commands that let port {port} in."
    ))
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    line.split(|letter| !is_part(letter)).any(|one| one == word)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const PORT: u16 = 38339;

    fn nft(rules: &str) -> Option<Level> {
        let text = format!(
            "table inet filter {{\n\tchain forward {{\n\t\ttype filter hook forward priority filter; policy drop;\n\t}}\n\
             \tchain input {{\n\t\ttype filter hook input priority filter; {rules}\n\t}}\n}}\n"
        );
        of_nft(&text, PORT).map(|one| one.level)
    }

    #[test]
    fn rules_of_nft_are_read_for_what_comes_in() {
        let cases = [
            ("policy accept;", None),
            ("policy drop;", Some(Level::Hint)),
            ("policy drop;\n\t\tudp dport 38339 accept", Some(Level::Ok)),
            (
                "policy drop;\n\t\ttcp dport { 22, 38339 } accept",
                Some(Level::Ok),
            ),
            (
                "policy accept;\n\t\tudp dport 38339 drop",
                Some(Level::Fault),
            ),
            ("policy accept;\n\t\tudp dport 138339 drop", None),
            (
                "policy accept;\n\t\tip daddr 224.0.0.0/4 drop",
                Some(Level::Fault),
            ),
            (
                "policy accept;\n\t\tmeta l4proto udp drop",
                Some(Level::Fault),
            ),
            (
                "policy accept;\n\t\tct state established accept\n\t\treject with icmpx admin-prohibited",
                Some(Level::Hint),
            ),
        ];
        for (rules, level) in cases {
            assert_eq!(nft(rules), level, "{rules}");
        }
        assert_eq!(of_nft("", PORT), None);
        assert_eq!(of_nft("chain {{{\n}}}\nchain\n", PORT), None);
    }

    #[test]
    fn rules_of_iptables_are_read_for_what_comes_in() {
        let level = |rules: &str| of_iptables(rules, PORT).map(|one| one.level);
        assert_eq!(level(":INPUT ACCEPT [0:0]\n"), None);
        assert_eq!(level(":INPUT DROP [0:0]\n"), Some(Level::Hint));
        let open = ":INPUT DROP [0:0]\n-A INPUT -p udp --dport 38339 -j ACCEPT\n";
        assert_eq!(level(open), Some(Level::Ok));
        let shut = ":INPUT ACCEPT [0:0]\n-A INPUT -p udp --dport 38339 -j DROP\n";
        assert_eq!(level(shut), Some(Level::Fault));
    }

    #[test]
    fn firewalld_and_ufw_are_asked_for_the_port() {
        assert_eq!(of_firewalld("38339/tcp 38339/udp\n", PORT).level, Level::Ok);
        let half = of_firewalld("38339/tcp 22/tcp\n", PORT);
        assert_eq!(half.level, Level::Hint);
        assert!(half.text.ends_with("38339/udp"), "{}", half.text);
        assert_eq!(of_ufw("Status: inactive\n", PORT), None);
        let active = "Status: active\n\nTo  Action  From\n22 ALLOW Anywhere\n";
        assert_eq!(of_ufw(active, PORT).unwrap().level, Level::Hint);
        let open = format!("{active}38339/udp  ALLOW  192.168.1.0/24\n");
        assert_eq!(of_ufw(&open, PORT).unwrap().level, Level::Ok);
    }
}

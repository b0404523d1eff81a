<?php
// A second implementation of SM2TP-FED/1, made from federation/PROTOCOL.md alone, to show that the text is enough.
// (Numbers) are its sections. Section 10, which binds no other node, is in mini_decide.php; mini_vectors.php puts the
// test vectors to both. No network, no disk: what a node computes, and nothing else.
declare(strict_types=1);
const ROTATE = "SM2TP-FED/1 rotate\n", EVENT = "SM2TP-FED/1 event\n", MOST = 9007199254740991, DAY = 86400;
const KEPT = ['h' => 180 * DAY, 's' => 30 * DAY], NEVER = MOST + 1;
final class Refused extends Exception {} // its message is the code
function need(mixed $right, string $code = 'bad-form'): void { if (!$right) throw new Refused($code); }

// --- 2, 3: notation, JSON profile, line -----------------------------------------------------------------------------
function b64(string $bytes): string { return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '='); }
function unb64(mixed $text, ?int $length = null): string {
    need(is_string($text) && preg_match('/^[A-Za-z0-9_-]*$/D', $text));
    $bytes = base64_decode(strtr($text, '-_', '+/'), true);
    need($bytes !== false && b64($bytes) === $text && ($length === null || strlen($bytes) === $length));
    return $bytes;
}
function check(mixed $value, int $room): void {
    need(is_array($value) ? $room > 0 && $value !== [] : (is_string($value) ? preg_match('/^[ !#-\[\]-~]*$/D', $value)
        : is_bool($value) || is_int($value) && $value >= 0 && $value <= MOST));
    foreach (is_array($value) ? $value : [] as $key => $inner) {
        need(array_is_list($value) || preg_match('/^[a-z][a-z0-9_]{0,15}$/D', (string) $key));
        check($inner, $room - 1);
    }
}
function sorted(array $a): array {
    if (!array_is_list($a)) ksort($a, SORT_STRING);
    return array_map(fn($inner) => is_array($inner) ? sorted($inner) : $inner, $a);
}
function encode(array $value): string { check($value, 4); return json_encode(sorted($value), JSON_UNESCAPED_SLASHES); }
function decode(string $bytes): array {
    $value = json_decode($bytes, true, 5); // PHP counts one more
    need(is_array($value) && !array_is_list($value) && encode($value) === $bytes);
    return $value;
}
function verify(string $key, string $message, string $sig): bool {
    return strlen($key) === 32 && strlen($sig) === 64 && sodium_crypto_sign_verify_detached($sig, $message, $key);
}
function event_id(string $json): string { return hash('sha256', "SM2TP-FED/1 id\n" . $json, true); }
function timely(mixed $t): bool { return is_int($t) && $t >= 0 && $t <= 253402300799; }

final class Event {
    public string $json, $sig, $id, $org, $key, $prev, $st, $k, $n; public int $inc, $seq, $ts; public array $b;
    public function __construct(public readonly string $line, string $net) { // V1 to V3 (6)
        need(strlen($line) <= 8192, 'too-long');
        need(preg_match('/^([\w-]{86}) ([ -~]+)\n$/D', $line, $part));
        [$this->sig, $this->json] = [unb64($part[1], 64), $part[2]];
        $h = decode($this->json);
        need(array_keys($h) === ['b', 'inc', 'k', 'key', 'n', 'net', 'org', 'prev', 'seq', 'st', 'ts', 'v'] && $h['v'] === 1);
        need(timely($h['ts']) && is_int($h['inc']) && $h['inc'] <= $h['ts'] && is_array($h['b']) && !array_is_list($h['b']));
        foreach (['net' => '[a-z0-9-]{1,32}', 'k' => '[a-z]{1,16}\.[a-z]{1,16}', 'st' => '[chs]', 'prev' => '.*'] as $name => $form)
            need(is_string($h[$name]) && preg_match("/^$form$/D", $h[$name]));
        need(is_int($h['seq']) && $h['seq'] >= 1 && ($h['seq'] === 1) === ($h['prev'] === ''));
        foreach (['st', 'k', 'inc', 'seq', 'ts', 'b'] as $name) $this->$name = $h[$name];
        foreach (['org' => 32, 'key' => 32, 'n' => 16, 'prev' => $this->seq === 1 ? 0 : 32] as $name => $size) $this->$name = unb64($h[$name], $size);
        $this->id = event_id($this->json);
        need(strlen($line) <= 2048 || $this->k === 'proof.fork', 'too-long');
        need($h['net'] === $net, 'wrong-net');
    }
    public function authentic(): bool { return verify($this->key, EVENT . $this->json, $this->sig); }
}
function stub(string $line): array { // (7.4)
    need(preg_match('/^- ([\w-]{43}) ([chs]) (0|[1-9]\d{0,15}) ([1-9]\d{0,15}) ([\w-]{43})\n$/D', $line, $part));
    need(timely((int) $part[3]) && (int) $part[4] <= MOST);
    return ['key' => unb64($part[1], 32), 'st' => $part[2], 'inc' => (int) $part[3], 'seq' => (int) $part[4], 'id' => unb64($part[5], 32)];
}
function place(array|object $of): string { return b64(((array) $of)['key']) . ' ' . ((array) $of)['st'] . ' ' . ((array) $of)['inc']; }

// --- 4: kinds ---------------------------------------------------------------------------------------------------------
// A form is a pattern of the JSON text of a value (3.1 leaves only one), or a number that divides a time.
const TIME = '(\d{1,11}|1\d{11}|2[0-4]\d{10}|25[0-2]\d{9}|253[0-3]\d{8}|25340[01]\d{6}|253402[0-2]\d{5}|253402300[0-7]\d\d)';
const ID = '"[\w-]{42}[AEIMQUYcgkosw048]"', CUT = TIME . ',[1-9]\d*,' . ID;
const FORMS = [
    'id' => ID, 'tag' => '"[\w-]{21}[AQgw]"', 'pk' => '"[\w-]{8}"', 'sig' => '"[\w-]{85}[AQgw]"', 'hour' => 3600, 'day' => DAY, 'time' => 1,
    'hard' => '"5\.(1\.[136]|1\.10|2\.1)"', 'soft' => '"(4\.1\.[16]|4\.2\.[012]|5\.2\.2)"', 'out' => '"[45](\.\d{1,3}){2}"', '5xx' => '5\d\d',
    '45x' => '[45]\d\d', 'cnt' => '[1-9]\d{0,3}', 'via' => '"(smtp|dsn)"', 'src' => '"(arf|manual)"', 'cls' => '"(bulk|personal|unknown)"',
    'prov' => '"[a-z0-9][a-z0-9._-]{0,63}"', 'count' => '\d+', 'n' => '[1-9]\d*', 'm' => '1', 'name' => '"[^"]{1,64}"',
    'contact' => '"[^"]{1,128}"', 'url' => '"https:\/\/[!-~]{1,248}"', 'st' => '"[chs]"', 'ids' => '\[' . ID . '(,' . ID . '){0,31}\]',
    'line' => '"[\w-]{0,2731}"',
    'closes' => '\[' . CUT . '\]', 'cut' => '\[(,?\["[chs]",' . CUT . '\]){1,16}\]', 'revoke' => '"(lost|stolen|retired)"',
    'refuse' => '"(abuse|lies|fork|other)"', 'retract' => '"(error|stale|erasure)"', 'blocked' => '"(compromised|spam|volume|bounces|complaints)"',
];
const BOUNCE = 'pk:pk r:tag cnt:cnt last:hour via:via prov?:prov', KINDS = [
    'rcpt.hard' => ['h', BOUNCE . ' code:hard smtp:5xx'], 'rcpt.soft' => ['s', BOUNCE . ' code:soft smtp:45x'],
    'rcpt.ok' => ['s', 'pk:pk r:tag last:hour'], 'rcpt.complaint' => ['h', 'pk:pk r:tag src:src cls:cls'],
    'send.blocked' => ['h', 'pk:pk s:tag why:blocked until:hour'], 'send.released' => ['h', 'ref:id'],
    'out.blocked' => ['s', 'prov:prov code:out n:n from:hour to:hour'], 'ctl.grant' => ['c', 'key:id label:name'],
    'stat.score' => ['s', 'from:day to:day sent:count hard:count soft:count cmpl:count supp:count m:m'],
    'ctl.org' => ['c', 'name:name url?:url contact?:contact sw?:name nextroot?:id'], 'ctl.peer' => ['c', 'peer:id url?:url name?:name'],
    'ctl.revoke' => ['c', 'key:id why:revoke cut?:cut'], 'ctl.rotate' => ['c', 'newroot:id sig2:sig'],
    'ctl.open' => ['c', 'key:id st:st inc:time closes?:closes'], 'ctl.refuse' => ['c', 'peer:id why:refuse'],
    'fix.retract' => ['hs', 'ids:ids why:retract'], 'proof.fork' => ['c', 'a:line b:line'],
];
function fits(mixed $value, string|int $form): bool {
    if (is_int($form)) return timely($value) && $value % $form === 0;
    $text = json_encode($value, JSON_UNESCAPED_SLASHES);
    try { if ($form === FORMS['line']) need(strlen(unb64($value)) <= 2048); } catch (Refused) { return false; }
    return preg_match("/^(?:$form)$/D", $text) === 1;
}
function weighty(Event $e): bool { // V9
    [$streams, $fields] = KINDS[$e->k] ?? ['', ''];
    [$left, $good] = [$e->b, str_contains($streams, $e->st)];
    foreach ($good ? explode(' ', $fields) : [] as $field) {
        [$name, $form] = explode(':', $field);
        $good = $good && (isset($left[rtrim($name, '?')]) ? fits($left[rtrim($name, '?')], FORMS[$form]) : str_ends_with($name, '?'));
        unset($left[rtrim($name, '?')]);
    }
    $span = ['stat.score' => fn($b) => $b['to'] === $b['from'] + DAY, 'out.blocked' => fn($b) => $b['to'] >= $b['from'] + 3600];
    return $good && $left === [] && (!isset($span[$e->k]) || $span[$e->k]($e->b));
}

// --- 5: addresses and tags ----------------------------------------------------------------------------------------------
function canon(string $address): ?string { // null: not shareable
    $at = strrpos($address, '@');
    if ($at === false || strlen($address) > 254) return null;
    $local = Normalizer::normalize(strtolower(Normalizer::normalize(substr($address, 0, $at)))); // strtolower: ASCII only
    $atom = '[a-z0-9!#$%&\'*+\/=?^_`{|}~\x{80}-\x{10ffff}-]';
    $dotted = "/^$atom+(?:\\.$atom+)*$/Du";
    if (!preg_match($dotted, $local)) {
        if (preg_match('/^"((?:[ !#-\[\]-~\x{80}-\x{10ffff}]|\\\\[ -~])*)"$/Du', $local, $quoted))
            $local = preg_replace('/\\\\(.)/su', '$1', $quoted[1]);
        elseif (!preg_match("/^(?:$atom|\\.)+$/Du", $local)) return null;
        if ($local === '') return null;
        if (!preg_match($dotted, $local)) $local = '"' . strtr($local, ['\\' => '\\\\', '"' => '\\"']) . '"';
    }
    $domain = substr($address, $at + 1);
    if (preg_match('/[^\x00-\x7f]/', $domain)) {
        try { // PHP 8.4 throws where older ones return false
            $domain = (string) idn_to_ascii($domain, IDNA_NONTRANSITIONAL_TO_ASCII, INTL_IDNA_VARIANT_UTS46);
            if (!preg_match('/^[\p{L}\p{M}\p{Nd}.-]+$/Du', (string) idn_to_utf8($domain))) return null;
        } catch (\ValueError) { return null; }
    }
    $domain = preg_replace('/\.$/D', '', strtolower($domain));
    $label = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?';
    return preg_match("/^(?:$label\\.)+(?!\\d+$)$label$/D", $domain) && strlen("$local@$domain") <= 254 ? "$local@$domain" : null;
}
function tag(string $pepper, string $what, string $canon): string {
    return b64(substr(hash_hmac('sha256', "SM2TP-FED/1 $what\n" . $canon, $pepper, true), 0, 16));
}

// --- 6, 7, 8: a node ----------------------------------------------------------------------------------------------------
final class Log {
    public int $floor = 0, $head = 0, $ts = 0; public string $floorId = '', $headId = ''; public array $at = []; // seq => Event or stub
    public function __construct(public string $org, public string $key, public string $st, public int $inc) {}
}
final class Node {
    public array $logs = [], $parked = [], $forks = [], $run = []; // by place; forks: [seq, orgs]; parked: [Event, why, since] by id
    public function __construct(public string $net, public array $orgs) {} // those that are admitted
    public function take(array $lines, int $now): array { // one code for each line (6)
        $codes = $below = $this->run = [];
        foreach ($lines as $i => $line) {
            try {
                $codes[$i] = str_starts_with($line, '- ') ? $this->stub($i, stub($line)) : $this->line($line, $now, $codes);
            } catch (Refused $refusal) { $codes[$i] = $refusal->getMessage(); }
            if ($codes[$i] === 'gone') array_unshift($below, $i);
        }
        foreach ($below as $i) $codes[$i] = $this->admit(new Event($lines[$i], $this->net), $now, $codes);
        return array_map(fn($code) => $code === 'gone' ? 'dup' : $code, $codes);
    }
    private function line(string $line, int $now, array &$codes): string {
        $id = event_id(rtrim(substr($line, 87), "\n"));
        if (isset($this->parked[$id]) || in_array($id, array_column($this->events(), 'id'), true)) return 'dup'; // V0
        $e = new Event($line, $this->net); // V1 to V3; nobody is refused here: V4
        $log = $this->logs[place($e)] ?? null;
        if ($log && $e->seq > $this->end($log)) return $this->ended($log);
        need($e->authentic(), 'bad-sig'); // V5
        return $this->admit($e, $now, $codes);
    }
    private function stub(int $i, array $stub): string { // (7.4)
        $run = &$this->run[place($stub)];
        $head = ($this->logs[place($stub)] ?? null)?->head ?? 0;
        if ($stub['seq'] <= $head) return 'dup';
        $run = $stub['seq'] === ($run ? end($run)['seq'] : $head) + 1 ? ($run ?? []) + [$i => $stub] : [];
        return 'bad-chain';
    }
    private function admit(Event $e, int $now, array &$codes): string { // V6 to V9
        [$name, $log, $from] = [place($e), $this->logs[place($e)] ?? null, $now - (KEPT[$e->st] ?? NEVER)];
        [$run, $this->run[$name]] = [$this->run[$name] ?? [], []];
        need(in_array($e->org, $this->orgs, true), 'unknown-org');
        if (!in_array($e->key, $this->identity($e->org)['writers'], true)) return $this->park($e, 'parked', $now);
        if ($run && (end($run)['id'] !== $e->prev || end($run)['seq'] !== $e->seq - 1)) $run = [];
        [$head, $headId] = $run ? [$e->seq - 1, $e->prev] : [$log?->head, $log?->headId];
        $step = match (true) { // (7.1)
            !$log && !$run && $e->seq > 1 && $e->inc > $from => 'bad-chain', // C3
            $e->seq > $this->end($log ?? $e) => $this->ended($e), // C4
            !$log => 'ok', // C1, C2
            $e->seq <= $log->floor && $e->id === $log->floorId && $e->org === $log->org => $e->ts >= $from ? 'below' : 'dup', // C5
            $e->seq <= $log->floor => 'gone', // C6
            $e->seq <= $log->head => $this->held($log, $e), // C7
            default => $e->seq === $head + 1 && $e->prev === $headId && $e->org === $log->org && $e->ts >= $log->ts ? 'ok' : 'bad-chain',
        };
        if (!in_array($step, ['ok', 'below'], true)) return $step === 'filled' ? 'ok' : $step;
        if ($e->ts > $now + 600) return $this->park($e, 'future', $now); // V8
        $live = fn($other) => $other->key === $e->key && $other->st === $e->st && $other->at && $this->end($other) === NEVER;
        need($log || count(array_filter($this->logs, $live)) < ($e->st === 'c' ? 16 : 3), 'quota'); // V9
        if (!$log) $log = $this->logs[$name] = new Log($e->org, $e->key, $e->st, $e->inc);
        if ($step === 'below' || !$log->at && !$run && !$log->head) [$log->floor, $log->floorId] = [$e->seq - 1, $e->prev];
        foreach ($run as $i => $stub) [$log->at[$stub['seq']], $codes[$i]] = [$stub + ['ts' => $e->ts], 'ok'];
        $log->at[$e->seq] = $e;
        if ($step === 'ok') [$log->head, $log->headId, $log->ts] = [$e->seq, $e->id, $e->ts];
        if ($e->k === 'proof.fork' && weighty($e)) $this->proof(unb64($e->b['a']), unb64($e->b['b']));
        if ($e->st === 'c') $this->retry($now, fn($p) => $p[1] === 'parked' && $p[0]->org === $e->org);
        return 'ok';
    }
    private function retry(int $now, callable $which): void {
        $due = array_filter($this->parked, $which);
        usort($due, fn($a, $b) => [$a[0]->key, $a[0]->st, $a[0]->inc, $a[0]->seq] <=> [$b[0]->key, $b[0]->st, $b[0]->inc, $b[0]->seq]);
        foreach ($due as [$e, , $since]) {
            $none = [];
            unset($this->parked[$e->id]);
            try { $this->admit($e, $now, $none); } catch (Refused) {}
            if (isset($this->parked[$e->id])) $this->parked[$e->id][2] = $since;
        }
    }
    private function park(Event $e, string $why, int $now): string {
        need(count(array_filter($this->parked, fn($p) => $p[0]->org === $e->org)) < 1000, 'quota');
        $this->parked[$e->id] = [$e, $why, $now];
        return $why;
    }
    private function held(Log $log, Event $e): string { // C7
        $there = $log->at[$e->seq];
        if (is_object($there)) return $this->proof($there->line, $e->line);
        if ($there['id'] !== $e->id) return 'bad-chain';
        if (in_array($e->id, $this->taken($e->org, true), true)) return 'dup';
        $log->at[$e->seq] = $e;
        return 'filled';
    }
    private function proof(string $a, string $b): string { // (7.3)
        try { [$a, $b] = [new Event($a, $this->net), new Event($b, $this->net)]; } catch (Refused) { return ''; }
        if (place($a) === place($b) && $a->seq === $b->seq && $a->id !== $b->id && $a->authentic() && $b->authentic()
            && $a->seq < ($this->forks[place($a)][0] ?? NEVER)) $this->forks[place($a)] = [$a->seq, [$a->org, $b->org]];
        return 'fork';
    }
    private function ended(Event|Log $of): string { return isset($this->forks[place($of)]) ? 'fork' : 'bad-chain'; }
    private function cut(array $cuts, string $place): int { // the last number that a revocation leaves (8.3)
        [$key, $log] = explode(' ', $place, 2);
        return isset($cuts[$key]) ? $cuts[$key][$log] ?? 0 : NEVER;
    }
    private function end(Event|Log $of): int {
        return min(($this->forks[place($of)][0] ?? NEVER + 1) - 1, $this->cut($this->identity($of->org)['cuts'], place($of)));
    }
    private function identity(string $org): array { // (8)
        [$by, $cuts, $said, $spoken, $roots] = [[], [], [], [], [$org]];
        $when = fn($e) => [$e->inc, $e->seq];
        foreach ($this->events() as $e) if ($e->org === $org && $e->st === 'c' && weighty($e)
            && $e->seq < ($this->forks[place($e)][0] ?? NEVER)) $by[$e->key][] = $e;
        foreach ($by as &$some) usort($some, fn($a, $b) => $when($a) <=> $when($b));
        do { // (8.4)
            $events = $by[end($roots)] ?? [];
            $nexts = array_unique(array_filter(array_map(fn($e) => $e->k === 'ctl.org' ? $e->b['nextroot'] ?? '' : '', $events)));
            $turn = current(array_filter($events, fn($e) => $e->k === 'ctl.rotate' && ($new = unb64($e->b['newroot']))
                && array_values($nexts) === [b64(hash('sha256', $new, true))] && verify($new, ROTATE . $org . $new, unb64($e->b['sig2']))));
            if ($turn && in_array(unb64($turn->b['newroot']), $roots, true)) $turn = false;
            $said[] = $turn ? array_filter($events, fn($e) => $when($e) <= $when($turn)) : $events;
            if ($turn) $roots[] = unb64($turn->b['newroot']);
        } while ($turn);
        for ($i = count($roots) - 1; $i >= 0; $i--) { // (8.3)
            $mine = array_filter($said[$i], fn($e) => $e->seq <= $this->cut($cuts, place($e)));
            array_unshift($spoken, ...$mine);
            foreach ($mine as $e) if ($e->k === 'ctl.revoke' && !in_array(unb64($key = $e->b['key']), array_slice($roots, $i), true)) {
                $named = [];
                foreach ($e->b['cut'] ?? [] as [$st, $inc, $seq]) $named["$st $inc"] = min($seq, $cuts[$key]["$st $inc"] ?? $seq);
                $cuts[$key] = array_intersect_key($named, $cuts[$key] ?? $named);
            }
        }
        $granted = array_unique(array_map(fn($e) => $e->k === 'ctl.grant' ? $e->b['key'] : '', $spoken));
        $gone = array_filter($granted, fn($key) => isset($cuts[$key]));
        $live = array_slice(array_filter(array_diff($granted, $gone)), 0, 16); // (8.2)
        $opened = array_map(fn($e) => $e->k === 'ctl.open' ? "{$e->b['key']} {$e->b['st']} {$e->b['inc']}" : '', $spoken);
        return ['conflict' => count($nexts) > 1, 'writers' => [...$roots, ...array_map(unb64(...), [...$live, ...$gone])]] + compact('roots', 'cuts', 'opened');
    }
    private function frozen(string $org): bool { // (7.3) rules 4 and 5, (8.4)
        [$who, $ours] = [$this->identity($org), 0];
        foreach ($this->forks as $place => [$seq, $orgs]) {
            $key = unb64(explode(' ', $place)[0]);
            if (!in_array($org, $orgs, true) || !in_array($key, $who['writers'], true) || $seq > $this->cut($who['cuts'], $place)) continue;
            $ours += explode(' ', $place)[1] === 'c' && in_array($key, $who['roots'], true) ? 2 : 1;
        }
        return $who['conflict'] || $ours > 1;
    }
    private function counts(Event $e): bool { // (8.5), retractions and frozen aside
        $who = $this->identity($e->org);
        if (!weighty($e) || $e->seq > $this->end($e) || !in_array($e->key, $who['writers'], true)) return false;
        $older = fn($place) => str_starts_with($place, b64($e->key) . " $e->st ") && (int) explode(' ', $place)[2] < $e->inc;
        return in_array(place($e), $who['opened'], true) || !array_filter(array_keys($this->forks), $older);
    }
    private function events(): array { return array_filter(array_merge([], ...array_column($this->logs, 'at')), is_object(...)); }
    private function taken(string $org, bool $erasure = false): array { // ids that the organisation took back
        $ids = [];
        foreach ($this->events() as $e) if (in_array($e->k, ['fix.retract', 'send.released'], true) && $e->org === $org && $this->counts($e)
            && (!$erasure || ($e->b['why'] ?? '') === 'erasure')) array_push($ids, ...$e->b['ids'] ?? [$e->b['ref']]);
        return array_map(unb64(...), $ids);
    }
    public function sweep(int $now): void { // parked lines (6), expiry (7), erasure (13)
        $this->parked = array_filter($this->parked, fn($p) => $p[2] >= $now - DAY);
        $this->retry($now, fn($p) => $p[1] === 'future' && $p[0]->ts <= $now + 600);
        foreach ($this->logs as $log) foreach ($log->st === 'c' ? [] : $log->at as $seq => $e) {
            $id = ((array) $e)['id'];
            if (((array) $e)['ts'] < $now - KEPT[$log->st]) {
                [$log->floor, $log->floorId] = [$seq, $id];
                unset($log->at[$seq]);
            } elseif (is_object($e) && $e->k !== 'fix.retract' && in_array($id, $this->taken($e->org, true), true))
                $log->at[$seq] = ['id' => $id, 'ts' => $e->ts];
        }
    }
    public function vector(int $bytes = 16): array { // (9.4)
        $vector = [];
        foreach ($this->logs as $log) if (($last = min($log->head, $this->end($log))) > $log->floor)
            $vector[] = [b64($log->key), $log->st, $log->inc, $log->floor, $last, b64(substr(((array) $log->at[$last])['id'], 0, $bytes))];
        usort($vector, fn($a, $b) => [unb64($a[0]), $a[1], $a[2]] <=> [unb64($b[0]), $b[1], $b[2]]);
        return $vector;
    }
    public function lines(array $want): array { // (9.5); a stub for what was erased
        [$log, $place] = [$this->logs["$want[0] $want[1] $want[2]"], "$want[0] $want[1] $want[2]"];
        return array_map(fn($seq) => is_object($at = $log->at[$seq]) ? $at->line : "- $place $seq " . b64($at['id']) . "\n", range($want[3], $want[4]));
    }
    public function shown(): array {
        [$vector, $counts] = [$this->vector(32), []];
        foreach ($this->events() as $e) if ($e->st !== 'c' && $this->counts($e) && !$this->frozen($e->org)
            && !in_array($e->id, $this->taken($e->org), true)) $counts[] = b64($e->id);
        $frozen = array_map(b64(...), array_filter($this->orgs, $this->frozen(...)));
        foreach ([&$vector, &$counts, &$frozen] as &$list) sort($list);
        return ['vector' => $vector, 'parked' => count($this->parked), 'frozen' => $frozen, 'counts' => $counts];
    }
}

// --- 9: exchange --------------------------------------------------------------------------------------------------------
const COVERED = '("@method" "@authority" "@path" "@query" "content-digest")';
function content_digest(string $body): string { return 'sha-256=:' . base64_encode(hash('sha256', $body, true)) . ':'; }
function base(string $method, string $host, string $path, string $body, string $parameters): string { // (9.3)
    $host = preg_replace('/:443$/D', '', strtolower($host));
    return "\"@method\": $method\n\"@authority\": $host\n\"@path\": $path\n\"@query\": ?\n\"content-digest\": " . content_digest($body)
        . "\n\"@signature-params\": $parameters";
}
function signed(string $pair, string $method, string $host, string $path, string $body, int $created, string $nonce): array {
    $keyid = b64(sodium_crypto_sign_publickey($pair));
    $parameters = COVERED . ";created=$created;nonce=\"$nonce\";keyid=\"$keyid\";alg=\"ed25519\";tag=\"sm2tp-fed-1\"";
    $sig = sodium_crypto_sign_detached(base($method, $host, $path, $body, $parameters), sodium_crypto_sign_secretkey($pair));
    return ['Content-Digest' => content_digest($body), 'Signature-Input' => "sm2tp=$parameters", 'Signature' => 'sm2tp=:' . base64_encode($sig) . ':'];
}
function checked(string $host, string $method, string $path, array $fields, string $body, int $now, array &$nonces): string { // R1 to R6
    $fields = array_change_key_case($fields);
    if (!isset($fields['content-digest'], $fields['signature-input'], $fields['signature'])) return 'missing';
    $form = '/^sm2tp=(' . preg_quote(COVERED, '/') . ';created=(0|[1-9]\d{0,11});nonce=("[\w-]{21}[AQgw]");keyid=("[\w-]{42}[AEIMQUYcgkosw048]")'
        . ';alg="ed25519";tag="sm2tp-fed-1")$/D';
    if (!preg_match($form, $fields['signature-input'], $part) || !preg_match('/^sm2tp=:([\w+\/]{86}==):$/D', $fields['signature'], $sig)) return 'form';
    if (abs($now - (int) $part[2]) > 60) return 'stale';
    if ($fields['content-digest'] !== content_digest($body)) return 'digest';
    $key = unb64(trim($part[4], '"'), 32);
    if (!verify($key, base($method, $host, $path, $body, $part[1]), base64_decode($sig[1]))) return 'signature';
    $used = ($nonces["$part[3]$part[4]"] ?? -NEVER) > $now - 300;
    $nonces["$part[3]$part[4]"] ??= $now;
    return $used ? 'replay' : 'ok';
}
function digest(array $vector): string { // (9.4)
    $lines = array_map(fn($e) => "$e[0] $e[1] $e[2] $e[4] $e[5]\n", array_filter($vector, fn($e) => $e[4] > $e[3]));
    sort($lines, SORT_STRING);
    return b64(hash('sha256', "SM2TP-FED/1 vector\n" . implode($lines), true));
}
function compare(array $ours, array $theirs): array { // (9.7)
    $todo = ['pull' => [], 'push' => [], 'below' => [], 'odd' => []];
    foreach ([&$ours, &$theirs] as &$side) $side = array_combine(array_map(fn($e) => "$e[0] $e[1] $e[2]", $side), $side);
    foreach ($theirs as $log => [$key, $st, $inc, $floor, $head, $id]) if ($head > $floor) {
        [, , , $from, $have, $mine] = $ours[$log] ?? [0, 0, 0, 0, 0, ''];
        if ($head > $have) $todo['pull'][] = [$key, $st, $inc, max($have, $floor) + 1, $head];
        if ($head === $have && $id !== $mine) $todo['odd'][] = [$key, $st, $inc];
        if ($floor < $from && $head >= $from) $todo['below'][] = [$key, $st, $inc, $floor + 1, $from];
    }
    foreach ($ours as $log => [$key, $st, $inc, $floor, $head]) if ($head > ($known = $theirs[$log][4] ?? 0))
        $todo['push'][] = [$key, $st, $inc, max($known, $floor) + 1, $head];
    $order = fn($e) => [$e[1] !== 'c', unb64($e[0]), $e[1], $e[2]];
    foreach (['pull', 'push'] as $what) usort($todo[$what], fn($a, $b) => $order($a) <=> $order($b));
    return $todo;
}
/** A session that $ours starts; $refuse: organisations that each side does not want. Returns the questions. */
function session(Node $ours, Node $theirs, array $refuse, int $now): array {
    $asked = [['/fed/v1/vector', encode(array_filter(['digest' => digest($ours->vector()), 'refuse' => $refuse['ours']]))]];
    if (digest($ours->vector()) === digest($theirs->vector())) return $asked;
    $offered = array_filter($theirs->vector(), fn($e) => !in_array(b64($theirs->logs["$e[0] $e[1] $e[2]"]->org), $refuse['ours'], true));
    $pull = function (array $want) use (&$asked, $theirs): array {
        $asked[] = ['/fed/v1/pull', encode(['want' => $want])];
        return array_merge(...array_map($theirs->lines(...), $want));
    };
    $todo = compare($ours->vector(), $offered);
    foreach ($todo['odd'] as $log) {
        [$mine, $yours] = [$ours->logs[implode(' ', $log)], $theirs->logs[implode(' ', $log)]];
        [$same, $other, $found] = [max($mine->floor, $yours->floor), $yours->head + 1, []];
        for ($at = $yours->head; $other - $same > 1; $at = intdiv($same + $other, 2)) {
            $line = $pull([[...$log, $at, $at]]);
            if (event_id(rtrim(substr($line[0], 87), "\n")) === ((array) $mine->at[$at])['id']) $same = $at;
            else [$other, $found] = [$at, $line];
        }
        $ours->take($found, $now);
    }
    if ($todo['pull']) $ours->take($pull($todo['pull']), $now);
    $push = array_filter(compare($ours->vector(), $offered)['push'], fn($e) => !in_array(b64($ours->logs["$e[0] $e[1] $e[2]"]->org), $refuse['theirs'], true));
    if ($lines = array_merge([], ...array_map($ours->lines(...), $push))) { $asked[] = ['/fed/v1/push', implode($lines)]; $theirs->take($lines, $now); }
    return $asked;
}

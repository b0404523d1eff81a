<?php
// A second implementation of SM2TP-FED/1, written from federation/PROTOCOL.md alone to show that its text is enough.
// It answers vectors: one JSON object a line on standard input, one on standard output. Numbers in () are sections.
declare(strict_types=1);
const EVENT = "SM2TP-FED/1 event\n", ROTATE = "SM2TP-FED/1 rotate\n";

final class Refused extends Exception {
    public function __construct(public readonly string $wire) { parent::__construct($wire); }
}
function need(bool $right, string $wire = 'bad-form'): void { if (!$right) throw new Refused($wire); }

// --- 2, 3: notation, JSON profile, line ---------------------------------------------------------------
function b64(string $bytes): string { return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '='); }
function unb64(mixed $text, ?int $length = null): string {
    need(is_string($text) && preg_match('/^[A-Za-z0-9_-]*$/D', $text) === 1);
    $bytes = base64_decode(strtr($text, '-_', '+/'), true);
    need($bytes !== false && b64($bytes) === $text && ($length === null || strlen($bytes) === $length));
    return $bytes;
}
function check(mixed $value, int $room): void {
    if (is_array($value)) {
        need($room > 0 && $value !== []);
        foreach ($value as $key => $inner) {
            need(array_is_list($value) || preg_match('/^[a-z][a-z0-9_]{0,15}$/D', (string) $key) === 1);
            check($inner, $room - 1);
        }
    } elseif (is_string($value)) need(preg_match('/^[ !#-\[\]-~]*$/D', $value) === 1);
    else need(is_bool($value) || is_int($value) && $value >= 0 && $value <= 9007199254740991);
}
function encode(array $value): string {
    check($value, 4);
    $sort = function (array $a) use (&$sort): array {
        if (!array_is_list($a)) ksort($a, SORT_STRING);
        return array_map(fn($inner) => is_array($inner) ? $sort($inner) : $inner, $a);
    };
    return json_encode($sort($value), JSON_UNESCAPED_SLASHES);
}
function decode(string $bytes): array {
    $value = json_decode($bytes, true, 5); // PHP counts one more
    need(is_array($value) && !array_is_list($value) && encode($value) === $bytes);
    return $value;
}
function verify(string $key, string $message, string $sig): bool {
    return strlen($key) === 32 && strlen($sig) === 64 && sodium_crypto_sign_verify_detached($sig, $message, $key);
}
function timely(mixed $t): bool { return is_int($t) && $t >= 0 && $t <= 253402300799; }

final class Event {
    public string $id, $org, $key, $prev, $sig, $st, $k; public int $inc, $seq, $ts; public array $b;
    public function __construct(public readonly string $line, string $net) { // V1 to V3 (6)
        need(strlen($line) <= 8192, 'too-long');
        need(preg_match('/^([\w-]{86}) ([ -~]+)\n$/D', $line, $part) === 1);
        $this->sig = unb64($part[1], 64);
        $h = decode($this->json = $part[2]);
        $names = array_keys($h);
        need($names === ['b', 'inc', 'k', 'key', 'n', 'net', 'org', 'prev', 'seq', 'st', 'ts', 'v']);
        need($h['v'] === 1 && timely($h['ts']) && is_int($h['inc']) && $h['inc'] <= $h['ts']);
        need(is_string($h['net']) && preg_match('/^[a-z0-9-]{1,32}$/D', $h['net']) === 1);
        need(is_string($h['k']) && preg_match('/^[a-z]{1,16}\.[a-z]{1,16}$/D', $h['k']) === 1);
        need(in_array($h['st'], ['c', 'h', 's'], true) && is_array($h['b']) && !array_is_list($h['b']));
        need(is_int($h['seq']) && $h['seq'] >= 1 && ($h['seq'] === 1) === ($h['prev'] === ''));
        unb64($h['n'], 16);
        [$this->org, $this->key] = [unb64($h['org'], 32), unb64($h['key'], 32)];
        $this->prev = $h['prev'] === '' ? '' : unb64($h['prev'], 32);
        foreach (['st', 'k', 'inc', 'seq', 'ts', 'b'] as $name) $this->$name = $h[$name];
        need(strlen($line) <= 2048 || $this->k === 'proof.fork', 'too-long');
        need($h['net'] === $net, 'wrong-net');
        $this->id = hash('sha256', "SM2TP-FED/1 id\n" . $part[2], true);
    }
    public string $json;
    public function authentic(): bool { return verify($this->key, EVENT . $this->json, $this->sig); }
}

// --- 4: kinds -------------------------------------------------------------------------------------------
function forms(): array { // name of a form => test
    $bin = fn(int $n) => function ($v) use ($n) { try { unb64($v, $n); return true; } catch (Refused) { return false; } };
    $re = fn(string $re) => fn($v) => is_string($v) && preg_match("/^(?:$re)$/D", $v) === 1;
    $int = fn(int $low, int $high) => fn($v) => is_int($v) && $v >= $low && $v <= $high;
    $every = fn(int $step) => fn($v) => timely($v) && $v % $step === 0;
    $all = fn(callable $f, int $most) => fn($v) => is_array($v) && array_is_list($v) && count($v) <= $most
        && array_filter($v, $f) === $v;
    $row = fn(callable ...$f) => fn($v) => is_array($v) && array_is_list($v) && count($v) === count($f)
        && !array_filter(array_keys($f), fn($i) => !$f[$i]($v[$i]));
    $count = $int(0, 9007199254740991);
    $positive = $int(1, 9007199254740991);
    $line = function ($v) { try { return strlen(unb64($v)) <= 2048; } catch (Refused) { return false; } };
    $out = '[45]\.[0-9]{1,3}\.[0-9]{1,3}';
    return [
        'id' => $bin(32), 'tag' => $bin(16), 'pk' => $bin(6), 'sig' => $bin(64), 'hour' => $every(3600), 'day' => $every(86400),
        'hard' => $re('5\.1\.[136]|5\.1\.10|5\.2\.1'), 'soft' => $re('4\.1\.[16]|4\.2\.[012]|5\.2\.2'), 'out' => $re($out),
        '5xx' => $int(500, 599), '45x' => $int(400, 599), 'cnt' => $int(1, 9999), 'via' => $re('smtp|dsn'), 'src' => $re('arf|manual'),
        'prov' => $re('[a-z0-9][a-z0-9._-]{0,63}'), 'cls' => $re('bulk|personal|unknown'), 'count' => $count, 'n' => $positive,
        'm' => $int(1, 1), 'name' => $re('.{1,64}'), 'contact' => $re('.{1,128}'), 'url' => $re('https:\/\/[!-~]{1,248}'), 'time' => timely(...),
        'st' => $re('[chs]'), 'ids' => $all($bin(32), 32), 'line' => $line, 'closes' => $row(timely(...), $positive, $bin(32)),
        'cut' => $all($row($re('[chs]'), timely(...), $positive, $bin(32)), 16), 'blocked' => $re('compromised|spam|volume|bounces|complaints'),
        'revoke' => $re('lost|stolen|retired'), 'refuse' => $re('abuse|lies|fork|other'), 'retract' => $re('error|stale|erasure'),
    ];
}
const BOUNCE = 'pk:pk r:tag cnt:cnt last:hour via:via prov?:prov';
const KINDS = [
    'rcpt.hard' => ['h', BOUNCE . ' code:hard smtp:5xx'], 'rcpt.soft' => ['s', BOUNCE . ' code:soft smtp:45x'],
    'rcpt.ok' => ['s', 'pk:pk r:tag last:hour'], 'rcpt.complaint' => ['h', 'pk:pk r:tag src:src cls:cls'],
    'send.blocked' => ['h', 'pk:pk s:tag why:blocked until:hour'], 'send.released' => ['h', 'ref:id'],
    'out.blocked' => ['s', 'prov:prov code:out n:n from:hour to:hour'],
    'stat.score' => ['s', 'from:day to:day sent:count hard:count soft:count cmpl:count supp:count m:m'],
    'ctl.org' => ['c', 'name:name url?:url contact?:contact sw?:name nextroot?:id'], 'ctl.grant' => ['c', 'key:id label:name'],
    'ctl.revoke' => ['c', 'key:id why:revoke cut?:cut'], 'ctl.rotate' => ['c', 'newroot:id sig2:sig'],
    'ctl.open' => ['c', 'key:id st:st inc:time closes?:closes'], 'ctl.peer' => ['c', 'peer:id url?:url name?:name'],
    'ctl.refuse' => ['c', 'peer:id why:refuse'], 'fix.retract' => ['hs', 'ids:ids why:retract'], 'proof.fork' => ['c', 'a:line b:line'],
];
function weighty(Event $e): bool { // V9
    static $forms = null;
    $forms ??= forms();
    [$streams, $fields] = KINDS[$e->k] ?? ['', ''];
    if (!str_contains($streams, $e->st)) return false;
    $left = $e->b;
    foreach (explode(' ', $fields) as $field) {
        [$name, $form] = explode(':', $field);
        [$name, $may] = [rtrim($name, '?'), str_ends_with($name, '?')];
        if (array_key_exists($name, $left) ? !$forms[$form]($left[$name]) : !$may) return false;
        unset($left[$name]);
    }
    if ($e->k === 'stat.score' && $e->b['to'] !== $e->b['from'] + 86400) return false;
    return $left === [] && ($e->k !== 'out.blocked' || $e->b['to'] >= $e->b['from'] + 3600);
}

// --- 5: addresses and tags --------------------------------------------------------------------------------
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
        $ascii = idn_to_ascii($domain, IDNA_NONTRANSITIONAL_TO_ASCII, INTL_IDNA_VARIANT_UTS46);
        if ($ascii === false || !preg_match('/^[\p{L}\p{M}\p{Nd}.-]+$/Du', (string) idn_to_utf8($ascii))) return null;
        $domain = $ascii;
    }
    $domain = preg_replace('/\.$/D', '', strtolower($domain));
    $label = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?';
    if (!preg_match("/^(?:$label\\.)+(?!\\d+$)$label$/D", $domain) || strlen("$local@$domain") > 254) return null;
    return "$local@$domain";
}
function pepper_id(string $pepper): string { return substr(hash('sha256', "SM2TP-FED/1 pepper\n" . $pepper, true), 0, 6); }
function tag(string $pepper, string $what, string $canon): string {
    return substr(hash_hmac('sha256', "SM2TP-FED/1 $what\n" . $canon, $pepper, true), 0, 16);
}

// --- 6, 7, 8: a node ---------------------------------------------------------------------------------------------------
const KEPT = ['h' => 180 * 86400, 's' => 30 * 86400], NEVER = 2 ** 53;
final class Log {
    public int $floor = 0, $head = 0, $ts = 0; public string $floorId = '', $headId = ''; public array $at = []; // seq => Event or stub
    public function __construct(public string $org, public string $key, public string $st, public int $inc) {}
}
function place(array|object $of): string { $of = (array) $of; return b64($of['key']) . " {$of['st']} {$of['inc']}"; }
final class Node {
    public array $logs = [], $parked = [], $forks = [], $run = []; // by place; forks: [seq, orgs]; parked: [Event, why, since] by id
    public function __construct(public string $net, public array $orgs) {} // those that are admitted
    public function take(array $lines, int $now): array { // one code for each line (6)
        $codes = $below = $this->run = [];
        foreach ($lines as $i => $line) {
            try {
                $codes[$i] = str_starts_with($line, '- ') ? $this->stub($i, stub($line)) : $this->line($line, $now, $codes);
            } catch (Refused $refusal) { $codes[$i] = $refusal->wire; }
            if ($codes[$i] === 'gone') array_unshift($below, $i);
        }
        foreach ($below as $i) $codes[$i] = $this->admit(new Event($lines[$i], $this->net), $now, $codes);
        return array_map(fn($code) => $code === 'gone' ? 'dup' : $code, $codes);
    }
    private function line(string $line, int $now, array &$codes): string {
        $id = hash('sha256', "SM2TP-FED/1 id\n" . rtrim(substr($line, 87), "\n"), true);
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
        if (!$log) {
            $log = $this->logs[$name] = new Log($e->org, $e->key, $e->st, $e->inc);
            if (!$run) [$log->floor, $log->floorId] = [$e->seq - 1, $e->prev];
        }
        foreach ($run as $i => $stub) [$log->at[$stub['seq']], $codes[$i]] = [$stub + ['ts' => $e->ts], 'ok'];
        $log->at[$e->seq] = $e;
        if ($step === 'below') [$log->floor, $log->floorId] = [$e->seq - 1, $e->prev];
        else [$log->head, $log->headId, $log->ts] = [$e->seq, $e->id, $e->ts];
        if ($e->k === 'proof.fork' && weighty($e)) $this->proof(unb64($e->b['a']), unb64($e->b['b']));
        if ($e->st === 'c') $this->retry($now, fn($p) => $p[1] === 'parked' && $p[0]->org === $e->org);
        return 'ok';
    }
    private function retry(int $now, callable $which): void {
        $this->parked = array_filter($this->parked, fn($p) => $p[2] >= $now - 86400);
        $due = array_column(array_filter($this->parked, $which), 0);
        usort($due, fn($a, $b) => [$a->key, $a->st, $a->inc, $a->seq] <=> [$b->key, $b->st, $b->inc, $b->seq]);
        foreach ($due as $e) {
            [$parked, $none] = [$this->parked[$e->id], []];
            unset($this->parked[$e->id]);
            try { $this->admit($e, $now, $none); } catch (Refused) {}
            if (isset($this->parked[$e->id])) $this->parked[$e->id][2] = $parked[2];
        }
    }
    private function park(Event $e, string $why, int $now): string {
        need(count(array_filter($this->parked, fn($p) => $p[0]->org === $e->org)) < 1000, 'quota');
        $this->parked[$e->id] = [$e, $why, $now];
        return $why;
    }
    private function held(Log $log, Event $e): string { // C7
        if (is_object($log->at[$e->seq])) return $this->proof($log->at[$e->seq]->line, $e->line);
        if ($log->at[$e->seq]['id'] !== $e->id) return 'bad-chain';
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
    public function cut(string $org, string $name): int {
        [$key, $log] = explode(' ', $name, 2);
        $cuts = $this->identity($org)['cuts'][unb64($key)] ?? null;
        return $cuts === null ? NEVER : $cuts[$log] ?? 0;
    }
    public function end(Event|Log $of): int { return min(($this->forks[place($of)][0] ?? NEVER + 1) - 1, $this->cut($of->org, place($of))); }
    public function identity(string $org): array { // (8)
        $by = $cuts = $said = $spoken = [];
        $when = fn($e) => [$e->inc, $e->seq];
        foreach ($this->events() as $e) if ($e->org === $org && $e->st === 'c' && weighty($e)
            && $e->seq < ($this->forks[place($e)][0] ?? NEVER)) $by[$e->key][] = $e;
        foreach ($by as &$some) usort($some, fn($a, $b) => $when($a) <=> $when($b));
        $roots = [$org];
        do { // (8.4)
            $events = $by[end($roots)] ?? [];
            $nexts = array_unique(array_filter(array_map(fn($e) => $e->k === 'ctl.org' ? $e->b['nextroot'] ?? '' : '', $events)));
            $turns = array_filter($events, fn($e) => $e->k === 'ctl.rotate' && [$new = unb64($e->b['newroot'])]
                && array_values($nexts) === [b64(hash('sha256', $new, true))] && verify($new, ROTATE . $org . $new, unb64($e->b['sig2'])));
            $turn = $turns && !in_array($new = unb64(reset($turns)->b['newroot']), $roots, true) ? reset($turns) : null;
            $said[] = $turn ? array_filter($events, fn($e) => $when($e) <= $when($turn)) : $events;
            if ($turn) $roots[] = $new;
        } while ($turn);
        for ($i = count($roots) - 1; $i >= 0; $i--) { // (8.3)
            $cut = $cuts[$roots[$i]] ?? null;
            $mine = array_filter($said[$i], fn($e) => $cut === null || $e->seq <= ($cut["$e->st $e->inc"] ?? 0));
            array_unshift($spoken, ...$mine);
            foreach ($mine as $e) if ($e->k === 'ctl.revoke' && !in_array($key = unb64($e->b['key']), array_slice($roots, $i), true)) {
                $named = [];
                foreach ($e->b['cut'] ?? [] as [$st, $inc, $seq]) $named["$st $inc"] = min($seq, $cuts[$key]["$st $inc"] ?? $seq);
                $cuts[$key] = array_intersect_key($named, $cuts[$key] ?? $named);
            }
        }
        $said = fn($kind) => array_filter($spoken, fn($e) => $e->k === $kind);
        $granted = array_unique(array_map(fn($e) => unb64($e->b['key']), $said('ctl.grant')));
        [$gone, $live] = [array_filter($granted, fn($key) => isset($cuts[$key])), array_filter($granted, fn($key) => !isset($cuts[$key]))];
        $opened = array_map(fn($e) => "{$e->b['key']} {$e->b['st']} {$e->b['inc']}", $said('ctl.open'));
        $writers = [...$roots, ...array_slice($live, 0, 16), ...$gone];
        return ['conflict' => count($nexts) > 1] + compact('roots', 'writers', 'cuts', 'opened');
    }
    public function frozen(string $org): bool { // (7.3) rules 4 and 5, (8.4)
        $who = $this->identity($org);
        $ours = array_filter($this->forks, fn($fork, $name) => in_array($org, $fork[1], true) && $fork[0] <= $this->cut($org, $name)
            && in_array(unb64(explode(' ', $name)[0]), $who['writers'], true), ARRAY_FILTER_USE_BOTH);
        $control = fn($name) => explode(' ', $name)[1] === 'c' && in_array(unb64(explode(' ', $name)[0]), $who['roots'], true);
        return $who['conflict'] || count($ours) > 1 || array_filter(array_keys($ours), $control);
    }
    private function counts(Event $e): bool { // (8.5), retractions and frozen aside
        $who = $this->identity($e->org);
        if (!weighty($e) || $e->seq > $this->end($e) || !in_array($e->key, $who['writers'], true)) return false;
        $older = fn($name) => str_starts_with($name, b64($e->key) . " $e->st ") && (int) explode(' ', $name)[2] < $e->inc;
        return in_array(place($e), $who['opened'], true) || !array_filter(array_keys($this->forks), $older);
    }
    private function events(): array { return array_filter(array_merge([], ...array_column($this->logs, 'at')), is_object(...)); }
    private function taken(string $org, bool $erasure = false): array { // ids that the organisation took back
        $ids = [];
        foreach ($this->events() as $e) if ($e->org === $org && $this->counts($e))
            if ($e->k === 'fix.retract' && (!$erasure || $e->b['why'] === 'erasure')) array_push($ids, ...$e->b['ids']);
            elseif ($e->k === 'send.released' && !$erasure) $ids[] = $e->b['ref'];
        return array_map(unb64(...), $ids);
    }
    public function sweep(int $now): void { // parked (6), expiry (7) and erasure (13)
        $this->retry($now, fn($p) => $p[1] === 'future' && $p[0]->ts <= $now + 600);
        foreach ($this->logs as $log) foreach ($log->at as $seq => $e)
            if ($log->st !== 'c' && ((array) $e)['ts'] < $now - KEPT[$log->st]) {
                [$log->floor, $log->floorId] = [$seq, ((array) $e)['id']];
                unset($log->at[$seq]);
            } elseif ($log->st !== 'c' && is_object($e) && $e->k !== 'fix.retract' && in_array($e->id, $this->taken($e->org, true), true))
                $log->at[$seq] = ['id' => $e->id, 'ts' => $e->ts];
    }
    public function shown(): array {
        $vector = $counts = [];
        foreach ($this->logs as $log) {
            ksort($log->at);
            if (($last = min($log->head, $this->end($log))) <= $log->floor) continue;
            $vector[] = [b64($log->key), $log->st, $log->inc, $log->floor, $last, b64(((array) $log->at[$last])['id'])];
        }
        foreach ($this->events() as $e) if ($e->st !== 'c' && $this->counts($e) && !$this->frozen($e->org)
            && !in_array($e->id, $this->taken($e->org), true)) $counts[] = b64($e->id);
        sort($vector);
        sort($counts, SORT_STRING);
        $frozen = array_map(b64(...), array_values(array_filter($this->orgs, $this->frozen(...))));
        return ['vector' => $vector, 'parked' => count($this->parked), 'frozen' => $frozen, 'counts' => $counts];
    }
}

// --- 10: decision ---------------------------------------------------------------------------------------------
const DAY = 86400, WEIGHT = ['refused' => 0, 'seen' => 0, 'known' => 40, 'trusted' => 100, 'sole' => 200, 'self' => 0];
const LIFE = ['rcpt.hard' => 180 * DAY, 'rcpt.complaint' => 180 * DAY, 'rcpt.soft' => 30 * DAY, 'rcpt.ok' => 30 * DAY];
function decay(int $value, int $age, int $half): int {
    $whole = intdiv($age, $half);
    return $whole > 40 ? 0 : ($value * (int) round(65536 * 2 ** (-intdiv($age % $half * 64, $half) / 64))) >> (16 + $whole);
}
/** $claims: [{org, k, ts, body}]; $trust: org => {level, group, share}; $own: [hard, ok]. */
function decide(array $claims, array $own, array $trust, int $now, array $rules): array {
    [$hard, $ok] = $own;
    $groups = [];
    foreach ($claims as $claim) { // sorted into group, organisation, kind
        $row = $trust[$claim['org']] ?? ['level' => 'seen'];
        $claim['w'] = WEIGHT[$row['level']] * ($row['share'] ?? 1000);
        $claim['at'] = min($claim['ts'], $claim['body']['last'] ?? $claim['ts']);
        $group = ($row['group'] ?? '') === '' ? 'org ' . $claim['org'] : 'group ' . $row['group'];
        if ($claim['w'] > 0 && isset(LIFE[$claim['k']]) && $now - $claim['at'] <= LIFE[$claim['k']])
            $groups[$group][$claim['org']][$claim['k']][] = $claim;
    }
    if (!$rules['remote']) $groups = [];
    [$sums, $by, $since, $alone] = [[], [], 0, false];
    foreach ($groups as $name => $orgs) {
        $oks = array_merge(...array_values(array_map(fn($kinds) => $kinds['rcpt.ok'] ?? [], $orgs)));
        $alive = max([0, ...array_column($oks, 'at')]);
        $sums[$name] = ['any' => 0, 'dead' => 0, 'newest' => 0, 'oks' => $oks];
        foreach ($orgs as $org => $kinds) foreach (array_diff_key($kinds, ['rcpt.ok' => 1]) as $kind => $all) {
            $all = array_filter($all, fn($claim) => $claim['at'] >= $alive);
            $value = $all ? max(array_map(fn($claim) => worth($claim, $all, $now), $all)) : 0;
            if ($value === 0) continue;
            $times = array_column($all, 'at');
            $sums[$name]['any'] = max($sums[$name]['any'], $value);
            $sums[$name]['newest'] = max($sums[$name]['newest'], ...$times);
            $by[$org] = true;
            $since = $since ? min($since, ...$times) : min($times);
            if ($kind !== 'rcpt.hard') continue;
            $sums[$name]['dead'] = max($sums[$name]['dead'], $value);
            $alone = $alone || $value >= $rules['suppress'] && $trust[$org]['level'] === 'sole';
        }
    }
    $e = evidence($sums, 'any');
    $deaths = count(array_filter(array_column($sums, 'dead')));
    [$outcome, $rule] = match (true) {
        $hard > $ok && $now - $hard <= 180 * DAY => ['suppress', 'D2'],
        $ok > 0 && $ok >= $hard && $ok > max([0, ...array_column($sums, 'newest')]) => ['allow', 'D1'],
        evidence($sums, 'dead') >= $rules['suppress'] && ($deaths >= $rules['quorum'] || $alone) => ['suppress', 'D3'],
        $e >= $rules['caution'] => ['caution', 'D4'],
        default => ['allow', 'D5'],
    };
    ksort($by, SORT_STRING);
    return ['outcome' => $outcome, 'rule' => $rule, 'e' => $e, 'by' => array_map(strval(...), array_keys($by)), 'since' => $since];
}
function worth(array $claim, array $all, int $now): int {
    $times = array_column($all, 'at');
    $count = array_sum(array_map(fn($one) => $one['body']['cnt'] ?? 1, $all));
    [$factor, $days, $at] = match (true) {
        $claim['k'] === 'rcpt.hard' => [$claim['body']['via'] === 'smtp' ? 1000 : 700, 90, $claim['at']],
        $claim['k'] === 'rcpt.complaint' => [800, 90, max($times)],
        $count >= 5 && max($times) - min($times) >= 5 * DAY => [500, 10, max($times)],
        default => [100, 3, max($times)],
    };
    return decay(intdiv($claim['w'] * $factor, 1000), max(0, $now - $at), $days * DAY);
}
function evidence(array $groups, string $q): int { // (10.3) E(q)
    $sum = array_sum(array_column($groups, $q));
    $relief = 0;
    foreach ($groups as $group) $relief += max([0, ...array_map(fn($ok) => min($ok['w'],
        array_sum(array_map(fn($g) => $g['newest'] < $ok['at'] ? $g[$q] : 0, $groups))), $group['oks'])]);
    return max(0, $sum - $relief);
}

// --- 14: answers to vectors ----------------------------------------------------------------------------------------
function bytes(array $spelled): string { // each character is one byte
    $text = ($spelled['before'] ?? '') . str_repeat($spelled['text'], $spelled['times'] ?? 1) . ($spelled['after'] ?? '');
    return iconv('UTF-8', 'ISO-8859-1', $text);
}
function keys(array $in): array {
    if ($in['do'] === 'verify')
        return ['valid' => verify(hex2bin($in['key']), $in['context'] . hex2bin($in['message']), hex2bin($in['signature']))];
    $pair = sodium_crypto_sign_seed_keypair(hex2bin($in['seed']));
    if ($in['do'] === 'public') return ['public' => bin2hex(sodium_crypto_sign_publickey($pair))];
    $signed = sodium_crypto_sign_detached($in['context'] . hex2bin($in['message']), sodium_crypto_sign_secretkey($pair));
    return ['signature' => bin2hex($signed)];
}
function canonical(array $in): array {
    if (isset($in['b64'])) return ['hex' => bin2hex(unb64($in['b64'], $in['length']))];
    decode(bytes($in));
    return ['code' => 'ok'];
}
function stub(string $line): array {
    need(preg_match('/^- ([\w-]{43}) ([chs]) (0|[1-9]\d{0,15}) ([1-9]\d{0,15}) ([\w-]{43})\n$/D', $line, $part) === 1);
    need(timely((int) $part[3]) && (int) $part[4] <= 9007199254740991);
    return ['key' => unb64($part[1], 32), 'st' => $part[2], 'inc' => (int) $part[3], 'seq' => (int) $part[4], 'id' => unb64($part[5], 32)];
}
function event(array $in): array {
    if ($in['do'] === 'stub') return ['code' => 'ok', 'id' => b64(stub(bytes($in['line']))['id'])];
    if ($in['do'] === 'read') {
        $e = new Event(bytes($in['line']), $in['net']);
        need($e->authentic(), 'bad-sig');
        return ['code' => 'ok', 'id' => b64($e->id), 'weight' => weighty($e)];
    }
    $pair = sodium_crypto_sign_seed_keypair(hex2bin($in['seed']));
    $json = encode($in['header'] + ['v' => 1, 'key' => b64(sodium_crypto_sign_publickey($pair)), 'b' => $in['body']]);
    $line = b64(sodium_crypto_sign_detached(EVENT . $json, sodium_crypto_sign_secretkey($pair))) . " $json\n";
    return ['code' => 'ok', 'line' => (new Event($line, $in['header']['net']))->line];
}
function addr(array $in): array {
    $canon = canon($in['address']);
    need($canon !== null, 'not-shareable');
    return ['canon' => $canon, 'tags' => array_map(fn($hex) => ['pk' => b64(pepper_id(hex2bin($hex))),
        'r' => b64(tag(hex2bin($hex), 'rcpt', $canon)), 's' => b64(tag(hex2bin($hex), 'send', $canon))], $in['peppers'])];
}
function decision(array $in): array {
    $claims = array_map(fn($c) => $c + ['body' => $c['b']], array_column($in['claims'], null, 'id'));
    $rules = ($in['rules'] ?? []) + ['caution' => 70000, 'suppress' => 150000, 'quorum' => 2, 'remote' => true];
    $own = [$in['own']['hard'] ?? 0, $in['own']['ok'] ?? 0];
    return decide($claims, $own, array_column($in['trust'], null, 'org'), $in['now'], $rules);
}
function logs(array $in): array {
    $orgs = array_map(unb64(...), $in['admit']);
    sort($orgs, SORT_STRING);
    [$node, $codes] = [new Node('test', $orgs), []];
    foreach ($in['steps'] as ['now' => $now, 'lines' => $lines]) {
        $node->sweep($now);
        $codes[] = $node->take(array_map(fn($line) => bytes(['text' => $line]) . "\n", $lines), $now);
    }
    return ['codes' => $codes] + $node->shown();
}
const GROUPS = ['chain' => 'logs', 'fork' => 'logs', 'keysmgmt' => 'logs', 'time' => 'logs', 'keys' => 'keys', 'canon' => 'canonical', 'event' => 'event', 'addr' => 'addr', 'decide' => 'decision'];
ini_set('display_errors', 'stderr');
while (($question = fgets(STDIN)) !== false) {
    $q = json_decode($question, true, 512) ?? json_decode(preg_replace('/\\\\u[dD][89a-fA-F]../', '\\u0000', $question), true);
    try {
        $reply = isset(GROUPS[$q['group']]) ? ['expect' => GROUPS[$q['group']]($q['input'])] : ['skip' => 'not done here'];
    } catch (Refused $refusal) {
        $reply = ['expect' => ['code' => $refusal->wire]];
    }
    echo json_encode($reply, JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR), "\n";
}

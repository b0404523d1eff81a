<?php
// Puts the test vectors (PROTOCOL.md, 14) to mini.php and mini_decide.php: one JSON object a line from standard input, one to standard output.
declare(strict_types=1);
require __DIR__ . '/mini.php';
require __DIR__ . '/mini_decide.php';

function bytes(array $spelled): string { // each character is one byte
    $text = ($spelled['before'] ?? '') . str_repeat($spelled['text'], $spelled['times'] ?? 1) . ($spelled['after'] ?? '');
    return iconv('UTF-8', 'ISO-8859-1', $text);
}
function keys(array $in): array {
    $message = ($in['context'] ?? '') . hex2bin($in['message'] ?? '');
    if ($in['do'] === 'verify') return ['valid' => verify(hex2bin($in['key']), $message, hex2bin($in['signature']))];
    $pair = sodium_crypto_sign_seed_keypair(hex2bin($in['seed']));
    return $in['do'] === 'public' ? ['public' => bin2hex(sodium_crypto_sign_publickey($pair))]
        : ['signature' => bin2hex(sodium_crypto_sign_detached($message, sodium_crypto_sign_secretkey($pair)))];
}
function canonical(array $in): array {
    if (isset($in['b64'])) return ['hex' => bin2hex(unb64($in['b64'], $in['length']))];
    return decode(bytes($in)) ? ['code' => 'ok'] : [];
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
    $tags = fn($pepper) => ['pk' => b64(substr(hash('sha256', "SM2TP-FED/1 pepper\n" . $pepper, true), 0, 6)),
        'r' => tag($pepper, 'rcpt', $canon), 's' => tag($pepper, 'send', $canon)];
    return ['canon' => $canon, 'tags' => array_map($tags, array_map(hex2bin(...), $in['peppers']))];
}
function logs(array $in): array {
    [$node, $codes] = [new Node('test', array_map(unb64(...), $in['admit'])), []];
    foreach ($in['steps'] as ['now' => $now, 'lines' => $lines]) {
        $node->sweep($now);
        $codes[] = $node->take(array_map(fn($line) => bytes(['text' => $line]) . "\n", $lines), $now);
    }
    return ['codes' => $codes] + $node->shown();
}
function httpsig(array $in): array {
    if ($in['do'] === 'sign') return ['fields' => signed(sodium_crypto_sign_seed_keypair(hex2bin($in['seed'])), $in['method'], $in['host'],
        $in['path'], unb64($in['body']), $in['created'], $in['nonce'])];
    $nonces = [];
    return ['words' => array_map(function ($one) use ($in, &$nonces) {
        return checked($in['host'], $one['method'], $one['path'], $one['fields'], unb64($one['body']), $one['now'], $nonces);
    }, $in['requests'])];
}
function sync(array $in): array {
    if ($in['do'] === 'compare') return ['digest' => digest($in['ours'])] + compare($in['ours'], $in['theirs']);
    foreach (['ours', 'theirs'] as $side) {
        $nodes[$side] = new Node('test', array_map(unb64(...), $in['admit']));
        $nodes[$side]->take(array_map(fn($line) => "$line\n", $in[$side]), $in['now']);
        $nodes[$side]->logs = array_filter($nodes[$side]->logs, fn($log) => !in_array(b64($log->org), $in['refuse'][$side], true));
    }
    return ['asked' => session($nodes['ours'], $nodes['theirs'], $in['refuse'], $in['now']),
        'ours' => $nodes['ours']->vector(), 'theirs' => $nodes['theirs']->vector()];
}
const GROUPS = ['httpsig' => 'httpsig', 'sync' => 'sync', 'keys' => 'keys', 'canon' => 'canonical', 'event' => 'event', 'addr' => 'addr',
    'decide' => 'decision',
    'chain' => 'logs', 'fork' => 'logs', 'keysmgmt' => 'logs', 'time' => 'logs'];
ini_set('display_errors', 'stderr');
while (($line = fgets(STDIN)) !== false) {
    $q = json_decode($line, true) ?? json_decode(preg_replace('/\\\\u[dD][89a-fA-F]../', '\\u0000', $line), true);
    try {
        $reply = isset(GROUPS[$q['group']]) ? ['expect' => GROUPS[$q['group']]($q['input'])] : ['skip' => 'not done here'];
    } catch (Refused $refusal) { $reply = ['expect' => ['code' => $refusal->getMessage()]]; }
    echo json_encode($reply, JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR), "\n";
}

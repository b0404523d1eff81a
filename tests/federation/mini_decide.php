<?php
// Section 10 of federation/PROTOCOL.md, made from its text alone: what follows for a recipient. See mini.php.
declare(strict_types=1);

const WEIGHT = ['refused' => 0, 'seen' => 0, 'known' => 40, 'trusted' => 100, 'sole' => 200, 'self' => 0];
const LIFE = ['rcpt.hard' => 180 * DAY, 'rcpt.complaint' => 180 * DAY, 'rcpt.soft' => 30 * DAY, 'rcpt.ok' => 30 * DAY];
function decay(int $value, int $age, int $half): int {
    $step = (int) round(65536 * 2 ** (-intdiv($age % $half * 64, $half) / 64)); // equals the table
    return intdiv($age, $half) > 40 ? 0 : ($value * $step) >> (16 + intdiv($age, $half));
}
function worth(array $claim, array $all, int $now): int { // of one claim among all of its organisation and kind (10.2)
    $times = array_column($all, 'at');
    $lasting = array_sum(array_map(fn($one) => $one['b']['cnt'] ?? 1, $all)) >= 5 && max($times) - min($times) >= 5 * DAY;
    [$factor, $days, $at] = match ($claim['k']) {
        'rcpt.hard' => [$claim['b']['via'] === 'smtp' ? 1000 : 700, 90, $claim['at']],
        'rcpt.complaint' => [800, 90, max($times)],
        default => [$lasting ? 500 : 100, $lasting ? 10 : 3, max($times)],
    };
    return decay(intdiv($claim['w'] * $factor, 1000), max(0, $now - $at), $days * DAY);
}
function evidence(array $groups, string $q): int { // (10.3) E(q)
    $e = array_sum(array_column($groups, $q));
    foreach ($groups as $group) $e -= max([0, ...array_map(fn($ok) => min($ok['w'],
        array_sum(array_map(fn($g) => $g['newest'] < $ok['at'] ? $g[$q] : 0, $groups))), $group['oks'])]);
    return max(0, $e);
}
function decision(array $in): array {
    $rules = ($in['rules'] ?? []) + ['caution' => 70000, 'suppress' => 150000, 'quorum' => 2, 'remote' => true];
    [$trust, $now, $hard, $ok] = [array_column($in['trust'], null, 'org'), $in['now'], $in['own']['hard'] ?? 0, $in['own']['ok'] ?? 0];
    $groups = $sums = $by = $starts = [];
    foreach ($rules['remote'] ? array_column($in['claims'], null, 'id') : [] as $claim) { // sorted into group, organisation, kind
        $row = ($trust[$claim['org']] ?? []) + ['level' => 'seen', 'share' => 1000, 'group' => ''];
        $claim += ['w' => WEIGHT[$row['level']] * $row['share'], 'at' => min($claim['ts'], $claim['b']['last'] ?? $claim['ts'])];
        $group = $row['group'] === '' ? "org $claim[org]" : "group $row[group]";
        if ($claim['w'] > 0 && $now - $claim['at'] <= (LIFE[$claim['k']] ?? -NEVER)) $groups[$group][$claim['org']][$claim['k']][] = $claim;
    }
    $alone = false;
    foreach ($groups as $name => $orgs) {
        $oks = array_merge(...array_values(array_map(fn($kinds) => $kinds['rcpt.ok'] ?? [], $orgs)));
        $sum = ['any' => 0, 'dead' => 0, 'newest' => 0, 'oks' => $oks];
        foreach ($orgs as $org => $kinds) foreach (array_diff_key($kinds, ['rcpt.ok' => 1]) as $kind => $all) {
            $all = array_filter($all, fn($claim) => $claim['at'] >= max([0, ...array_column($oks, 'at')]));
            $value = max([0, ...array_map(fn($claim) => worth($claim, $all, $now), $all)]);
            if ($value === 0) continue;
            [$by[$org], $starts[]] = [true, min(array_column($all, 'at'))];
            $dead = $kind === 'rcpt.hard' ? $value : 0;
            $alone = $alone || $dead >= $rules['suppress'] && $trust[$org]['level'] === 'sole';
            $sum = ['any' => max($sum['any'], $value), 'dead' => max($sum['dead'], $dead),
                'newest' => max($sum['newest'], ...array_column($all, 'at'))] + $sum;
        }
        $sums[$name] = $sum;
    }
    $enough = $alone || count(array_filter(array_column($sums, 'dead'))) >= $rules['quorum'];
    [$outcome, $rule] = match (true) { // (10.4)
        $hard > $ok && $now - $hard <= 180 * DAY => ['suppress', 'D2'],
        $ok > 0 && $ok >= $hard && $ok > max([0, ...array_column($sums, 'newest')]) => ['allow', 'D1'],
        evidence($sums, 'dead') >= $rules['suppress'] && $enough => ['suppress', 'D3'], evidence($sums, 'any') >= $rules['caution'] => ['caution', 'D4'],
        default => ['allow', 'D5'],
    };
    ksort($by, SORT_STRING);
    return ['outcome' => $outcome, 'rule' => $rule, 'e' => evidence($sums, 'any'), 'by' => array_map(strval(...), array_keys($by)),
        'since' => $starts ? min($starts) : 0];
}

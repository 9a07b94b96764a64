#!/usr/bin/php8.2
<?php
// Kind native:default, in an image that has PHP.
$answers = fopen('php://fd/3', 'w');
while ($line = fgets(STDIN)) {
    $name = json_decode($line)->value->name ?? 'world';
    fwrite($answers, json_encode(['hello' => $name, 'from' => 'PHP ' . PHP_VERSION]) . "\n");
}

// Forked by suite.js: adds what it is told, until it is killed.
'use strict';
process.on('message', ({ add }) => process.send({ sum: add.reduce((a, b) => a + b), argument: process.argv[2] }));

@0xbd5a1e0c8d7f4b21;

interface Echo {
  echo @0 (bytes :Data) -> (bytes :Data);
  give @1 (length :UInt32) -> (bytes :Data);
}

# mosquitto: messages of each quality come to whoever has subscribed, and what is kept is there after another start.
printf 'listener 1883 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location /tmp/\nuser root\n' > /tmp/m.conf
begin() {
    /usr/sbin/mosquitto -c /tmp/m.conf 2> /dev/null &
    broker=$!
    until nc 127.0.0.1 1883 < /dev/null 2> /dev/null; do sleep 0.2; done
}
end() {
    kill $broker
    wait $broker || { echo "the broker ends with $?"; exit 1; }
}
begin
/usr/bin/mosquitto_sub -h 127.0.0.1 -t 'a/#' -C 3 -q 2 > /tmp/heard &
listener=$!
sleep 2
for quality in 0 1 2; do
    /usr/bin/mosquitto_pub -h 127.0.0.1 -t a/$quality -q $quality -m "of quality $quality" -r
done
wait $listener
[ "$(sort /tmp/heard | tr '\n' ' ')" = 'of quality 0 of quality 1 of quality 2 ' ] || { echo "heard: $(cat /tmp/heard)"; exit 1; }
end
begin
[ "$(/usr/bin/mosquitto_sub -h 127.0.0.1 -t a/2 -C 1)" = 'of quality 2' ] || { echo 'what was kept has gone'; exit 1; }
end
echo 'all of mosquitto is well'

// What the macro makes of `remote` in src/golden.rs. Formatted by prettyplease.
impl Table {
    /// The value of a key.
    pub async fn get(&self, key: u64) -> Option<String> {
        (key == 1).then(|| String::from("one"))
    }
    async fn hint(&self) {}
    async fn add_up(&self, from: u64, mut items: Items<u64>) -> u64 {
        let mut sum = from;
        while let Ok(Some(n)) = items.next().await {
            sum += n;
        }
        sum
    }
    async fn doubled(&self, mut items: Items<u64>, out: Sink<u64>) {
        while let Ok(Some(n)) = items.next().await {
            if out.send(2 * n).await.is_err() {
                return;
            }
        }
    }
    async fn numbers(&self, upto: u64, out: Sink<u64>) {
        for n in 0..upto {
            if out.send(n).await.is_err() {
                return;
            }
        }
    }
}
const _: fn() = || {
    fn travels<T: ::ebb_distributed::Value>() {}
    travels::<u64>();
    travels::<Option<String>>();
    travels::<()>();
    travels::<u64>();
    travels::<u64>();
    travels::<u64>();
    travels::<u64>();
    travels::<u64>();
    travels::<u64>();
    travels::<u64>();
};
///`Table` on a node: its methods, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct TableAt(::ebb_distributed::At);
#[automatically_derived]
impl ::core::convert::From<::ebb_distributed::At> for TableAt {
    fn from(at: ::ebb_distributed::At) -> Self {
        Self(at)
    }
}
#[allow(private_interfaces, dead_code)]
impl TableAt {
    /// The node.
    #[must_use]
    pub fn node(self) -> ::ebb_distributed::NodeId {
        self.0.node()
    }
    /// The same node, with a deadline for each call: so long after its start.
    #[must_use]
    pub fn within(self, limit: ::core::time::Duration) -> Self {
        Self(self.0.within(limit))
    }
    /// The value of a key.
    pub async fn get(
        self,
        key: u64,
    ) -> ::core::result::Result<Option<String>, ::ebb_distributed::Failure> {
        self.0
            .call::<
                (u64,),
                Option<String>,
            >(
                const {
                    ::ebb_distributed::hash(<Table as ::ebb_distributed::Remote>::NAME)
                },
                const { ::ebb_distributed::hash("get(u64)->Option<String>") },
                (key,),
            )
            .await
    }
    fn hint(self) -> ::core::result::Result<(), ::ebb_distributed::Failure> {
        self.0
            .oneway::<
                (),
            >(
                const {
                    ::ebb_distributed::hash(<Table as ::ebb_distributed::Remote>::NAME)
                },
                const { ::ebb_distributed::hash("oneway hint()->()") },
                (),
            )
    }
    fn add_up(self, from: u64) -> ::ebb_distributed::Upload<u64, u64> {
        self.0
            .upload::<
                (u64,),
                u64,
                u64,
            >(
                const {
                    ::ebb_distributed::hash(<Table as ::ebb_distributed::Remote>::NAME)
                },
                const { ::ebb_distributed::hash("add_up(u64;u64)->u64") },
                (from,),
            )
    }
    fn doubled(self) -> (::ebb_distributed::Feed<u64>, ::ebb_distributed::Stream<u64>) {
        self.0
            .both_ways::<
                (),
                u64,
                u64,
            >(
                const {
                    ::ebb_distributed::hash(<Table as ::ebb_distributed::Remote>::NAME)
                },
                const { ::ebb_distributed::hash("stream doubled(;u64)->u64") },
                (),
            )
    }
    fn numbers(self, upto: u64) -> ::ebb_distributed::Stream<u64> {
        self.0
            .stream::<
                (u64,),
                u64,
            >(
                const {
                    ::ebb_distributed::hash(<Table as ::ebb_distributed::Remote>::NAME)
                },
                const { ::ebb_distributed::hash("stream numbers(u64)->u64") },
                (upto,),
            )
    }
}
#[automatically_derived]
impl ::ebb_distributed::Remote for Table {
    const NAME: &'static str = "table";
    type At = TableAt;
    fn dispatch(
        call: ::ebb_distributed::__private::Incoming,
    ) -> ::core::option::Option<::ebb_distributed::__private::Answering> {
        if call.method == const { ::ebb_distributed::hash("get(u64)->Option<String>") } {
            let items = call.items;
            return ::ebb_distributed::__private::answering::<
                (u64,),
                Option<String>,
            >(
                call.payload,
                async move |(key,): (u64,)| {
                    let _ = &items;
                    ::ebb_distributed::__private::EbbRef::<Table>::get().get(key).await
                },
            );
        }
        if call.method == const { ::ebb_distributed::hash("oneway hint()->()") } {
            let items = call.items;
            return ::ebb_distributed::__private::answering::<
                (),
                (),
            >(
                call.payload,
                async move |(): ()| {
                    let _ = &items;
                    ::ebb_distributed::__private::EbbRef::<Table>::get().hint().await
                },
            );
        }
        if call.method == const { ::ebb_distributed::hash("add_up(u64;u64)->u64") } {
            let items = call.items;
            let given = call.given;
            return ::ebb_distributed::__private::answering::<
                (u64,),
                u64,
            >(
                call.payload,
                async move |(from,): (u64,)| {
                    let _ = &items;
                    ::ebb_distributed::__private::EbbRef::<Table>::get()
                        .add_up(from, ::ebb_distributed::Items::of(given))
                        .await
                },
            );
        }
        if call.method == const { ::ebb_distributed::hash("stream doubled(;u64)->u64") }
        {
            let items = call.items;
            let given = call.given;
            return ::ebb_distributed::__private::answering::<
                (),
                (),
            >(
                call.payload,
                async move |(): ()| {
                    let _ = &items;
                    ::ebb_distributed::__private::EbbRef::<Table>::get()
                        .doubled(
                            ::ebb_distributed::Items::of(given),
                            ::ebb_distributed::Sink::of(items),
                        )
                        .await
                },
            );
        }
        if call.method == const { ::ebb_distributed::hash("stream numbers(u64)->u64") } {
            let items = call.items;
            return ::ebb_distributed::__private::answering::<
                (u64,),
                (),
            >(
                call.payload,
                async move |(upto,): (u64,)| {
                    let _ = &items;
                    ::ebb_distributed::__private::EbbRef::<Table>::get()
                        .numbers(upto, ::ebb_distributed::Sink::of(items))
                        .await
                },
            );
        }
        ::core::option::Option::None
    }
}
